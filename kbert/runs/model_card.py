# SPDX-License-Identifier: Apache-2.0
"""Model cards: what a model is for and how it was trained."""

import itertools
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from kbert import input_files, json_files, tasks
from kbert.checkpoints.folder import LoadedModel
from kbert.markdown import code, escape, fill, front_matter, table
from kbert.runs import run_record

# In a run's folder, next to the model.
_FLAGS, _EVALUATION, _REPORT = (
    *("flags.txt", "evaluation.json"),
    "report/report.json",
)
_FILES = ("train", "dev", "input", "eval", "init")  # flags that name data
# Flags whose values are names of files or folders.
_PATHS = (
    *("train", "dev", "input", "eval", "eval_input", "init"),
    *("output_dir", "model_config", "vocab", "model", "flagfile"),
)
_ABSOLUTE = re.compile(r"[/\\~]|[A-Za-z]:[/\\]|\w+://|\.\.?[/\\]")


def markdown(
    folder: pathlib.Path,
    loaded: LoadedModel,
    license_name: str | None,
    *,
    language: Sequence[str] = (),
    datasets: Sequence[str] = (),
    precision: str = "float32",
) -> str:
    """Writes the MODEL_CARD.md of a model.

    Files and folders are shown by name, without the paths of the machine.

    Args:
        folder: of the model. The flags, scores and report of its run are in
            the folder above if kbert trained it.
        loaded: the model.
        license_name: of the weights; by default the names of the licence
            files in the folder.
        language: codes of the texts' languages, such as "en".
        datasets: names of the training data on the Hub.
        precision: of the export; the scores are of float32.
    """
    run = folder.resolve().parent
    names = tasks.TASKS[loaded.spec.task]
    fields: dict[str, str | Sequence[str]] = dict(
        _license(loaded, license_name)
    )
    if language:
        fields["language"] = language
    if datasets:
        fields["datasets"] = datasets
    fields["library_name"] = "kbert"
    fields["pipeline_tag"] = names.pipeline_tag
    scores = [*_scores(run)]
    if precision != "float32":
        scores.append(
            f"They are those of float32; README.md has what {precision} "
            "changes."
        )
    return fill(
        "kbert.runs",
        "model_card.md",
        front_matter=front_matter(fields),
        name=escape(run.name if (run / _FLAGS).exists() else folder.name),
        use=names.use,
        sizes=table(("", "number"), _sizes(loaded)),
        training="\n\n".join(_training(run)),
        scores="\n\n".join(scores),
    )


def _license(loaded, name) -> Iterator[tuple[str, str]]:
    """The name given, or the licence files, which the Hub calls "other"."""
    if name or not loaded.licences:
        yield "license", name or "unknown"
        return
    files = ", ".join(loaded.licences)
    yield from (("license", "other"), ("license_name", files))
    yield "license_link", next(iter(loaded.licences))


def _sizes(loaded) -> Iterator[tuple[str, int]]:
    config = loaded.config
    yield "weights", loaded.model.count_params()
    yield "blocks", config.num_hidden_layers
    yield "width", config.hidden_size
    yield "heads", config.num_attention_heads
    yield "tokens of the vocabulary", len(loaded.vocabulary)
    yield "tokens of a row at most", loaded.spec.max_seq_length
    if loaded.spec.labels:
        yield "classes", len(loaded.spec.labels)


def _training(run) -> Iterator[str]:
    if (run / run_record.RUN_FILE).is_file():
        input_files.check_inside(run / run_record.RUN_FILE)
    if record := run_record.read(run):
        yield from itertools.chain(*map(_part, record["parts"]))
        return
    if not (run / _FLAGS).is_file():
        yield "Not known: there is no record of a run next to the model."
        return
    input_files.check_inside(run / _FLAGS)
    given = (run / _FLAGS).read_text("utf-8").splitlines()
    pairs = [x.removeprefix("--").partition("=")[::2] for x in given]
    pairs = [(name, _own_names(name, value)) for name, value in pairs]
    data = [(name, value) for name, value in pairs if name in _FILES]
    if data:
        yield table(("data", "file"), data)
    yield "All flags of the run:"
    yield code("\n".join(f"--{n}={v}" if v else f"--{n}" for n, v in pairs))


def _own_names(flag, value):
    """The value of a flag, with its paths as bare names."""
    parts = value.split(",")
    if flag in _PATHS or any(map(_ABSOLUTE.match, parts)):
        parts = [re.split(r"[/\\]", x.rstrip("/\\"))[-1] for x in parts]
    return ",".join(parts)


def _part(part) -> Iterator[str]:
    """Steps of the run that had the same settings."""
    last = part["last_step"]
    until = f" to {last:,}" if last else " and later"
    versions = ", ".join(f"{k} {v}" for k, v in part["versions"].items())
    when = escape(f"{part['date']}, {versions}.")
    yield f"Steps {part['first_step']:,}{until}: {when}"
    inputs = part["inputs"].items()
    rows = [(flag, x["name"], x["fingerprint"][:16]) for flag, x in inputs]
    yield table(("data", "file", "content"), rows)
    lines = run_record.flag_lines(part["settings"])
    yield code("\n".join(lines))


class _Class(TypedDict):
    precision: float | None
    recall: float | None
    f1: float | None
    rows: int


class _Report(TypedDict):
    """The fields of report.json that are shown."""

    classes: NotRequired[dict[str, _Class]]


def _scores(run) -> Iterator[str]:
    scores = _read(run / _EVALUATION, dict[str, Any])
    numbers = [(k, v) for k, v in scores.items() if isinstance(v, float)]
    if not numbers:
        yield "None were measured when it was trained."
        return
    yield table(("on the validation file", "score"), numbers)
    report = _read(run / _REPORT, _Report)
    if classes := report.get("classes"):
        head = ("class", "precision", "recall", "f1", "rows")
        rows = [
            [name, *(row[x] for x in head[1:])] for name, row in classes.items()
        ]
        yield table(head, rows)


def _read(path: pathlib.Path, schema: Any) -> Mapping[str, Any]:
    """A file's JSON object, checked, or an empty one."""
    if not path.is_file():
        return {}
    input_files.check_inside(path)
    return json_files.read(path, schema, others=Any)
