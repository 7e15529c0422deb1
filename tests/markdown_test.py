# SPDX-License-Identifier: Apache-2.0
"""Texts of any kind are read in Markdown and YAML as they are."""

import html
import re

import pytest

from kbert import markdown

TEXTS = [
    "plain text",
    "exact_match",
    "_a_ __init__ *b* ~~c~~ `d` $e$",
    "<script>alert(1)</script>",
    "a & b &amp; c",
    "a|b\\|c",
    "[x](http://evil.example) ![y](javascript:z)",
    "http://evil.example www.evil.example",
    "# heading #",
    "back\\slash \\* \\",
    "日本語 schön",
    "---",
    "1. a",
    "a</td></tr></table><h1>b",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_cell_and_a_title_read_as_their_text(text):
    """As an independent renderer shows them, without an element of theirs."""
    markdown_it = pytest.importorskip("markdown_it")
    render = markdown_it.MarkdownIt("commonmark", {"html": True})
    render.enable(["table", "strikethrough"])
    page = render.render(
        f"# {markdown.escape(text)}\n\n"
        + markdown.table(("a", text), [[text, 1]])
    )
    tags = set(re.findall(r"</?([a-z0-9]+)", page))
    assert tags == {"h1", "table", "thead", "tbody", "tr", "th", "td"}
    shown = [html.unescape(re.sub("<[^>]*>", "", x)) for x in page.split("\n")]
    assert shown.count(text) == 3  # the title, a head and a cell


def test_lines_and_lone_surrogates_and_numbers():
    assert markdown.escape("a\nb\r\n\tc\u2028d\0e") == "a b c d e"
    assert markdown.escape("a\ud800") == "a?"
    table = markdown.table(
        ("", "x"), [["a", 0.5], ["b", 1000], ["c", float("nan")]]
    )
    assert [line.split("|")[2].strip() for line in table.splitlines()] == [
        *("x", "-----:", "0.5000", "1,000", "-")
    ]


def test_on_a_terminal_texts_stay_as_they_are():
    table = markdown.table(("label",), [["<C#> & a|b"]], terminal=True)
    assert table.splitlines()[-1] == "| <C#> & a\\|b |"


@pytest.mark.parametrize("text", ["a", "```", "a\n````\nb", "`` ` ``"])
def test_code_of_any_text(text):
    markdown_it = pytest.importorskip("markdown_it")
    page = markdown_it.MarkdownIt().render(markdown.code(text) + "\n\nafter")
    want = f"<pre><code>{html.escape(text)}\n</code></pre>\n<p>after</p>\n"
    assert page == want


@pytest.mark.parametrize(
    "text",
    [
        *TEXTS,
        *("no", "Yes", "null", "y", "~", "1.5", "2024-01-01", "0x1f", ""),
        *("a: b", "- a", "a #b", '"a"', "'a'", "a\nb: c", "{a: b}", "[a]"),
        *("\x7f\x85\u2028\ufeff", "&a", "*a", "!a", "%a", "@a", "\U0001f600"),
        *("apache-2.0", "en", "LICENSE.txt", "x" * 2000, "a " * 200, " a "),
    ],
)
def test_front_matter_is_yaml(text):
    yaml = pytest.importorskip("yaml")
    fields = {"license": text, "language": ["en", text], "tag": "x"}
    matter = markdown.front_matter(fields)
    assert matter.startswith("---\n") and matter.endswith("\n---")
    assert (
        yaml.safe_load(matter.removeprefix("---").removesuffix("---")) == fields
    )


def test_plain_texts_of_front_matter_stay_plain():
    assert markdown.front_matter(
        {"license": "apache-2.0", "language": ["no"]}
    ) == ('---\nlicense: apache-2.0\nlanguage:\n- "no"\n---')
