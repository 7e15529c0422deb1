# SPDX-License-Identifier: Apache-2.0
"""The record of a run's folder: run.json, a part for each set of settings.

A part has its first and last step, the date, all flags, the versions of kbert,
TensorFlow and Keras, and the name and fingerprint of each file that was read.
So every step is recorded with the settings that it had.
"""

import contextlib
import datetime
import hashlib
import importlib.metadata
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from kbert import atomic_files, json_files
from kbert.checkpoints import formats
from kbert.runs import run_files
from kbert.runs.run_files import Named
from kbert.training.callbacks import Callback
from kbert.training.checkpoints import CHECKPOINTS_FOLDER, saved_steps

RUN_FILE = "run.json"
FLAGS_FILE = "flags.txt"  # of the last part, for --flagfile
# Flags of files and folders, which are compared by their content.
_PATHS = (
    *("output_dir", "init", "model_config", "vocab"),
    *("train", "dev", "input", "eval_input"),
)
# Settings that may only grow.
_LENGTHS = ("epochs", "steps")
# Settings that change neither the steps nor their data: they may change.
_FREE = (
    *("log_every", "save_every", "keep_checkpoints", "peak_tflops"),
    *("eval_every", "patience", "metric", "keep", "worst"),
    *("dev", "eval_input"),
    *("strategy", "start_timeout", "accumulate_steps", "remat", "xla"),
)
_DISTRIBUTIONS = {"kbert": "kbert-keras"}  # packages of another name
_ENDS = 2**16  # bytes at a large file's start and end that identify it


class Part(TypedDict):
    """Steps with the same settings; `last_step` is None while it runs."""

    first_step: int
    last_step: int | None
    date: str
    versions: dict[str, str]
    inputs: dict[str, Named]
    settings: dict[str, Any]


class Record(TypedDict):
    """The content of run.json: the command and the parts in order."""

    command: str
    parts: list[Part]


def named_model(path: str | os.PathLike) -> Named:
    """A model's own name, with the run's if it is one's, and its content.

    Raises: ValueError if it is no model; OSError.
    """
    resolved = pathlib.Path(path).resolve()
    parts = [resolved.name]
    if (resolved.parent / RUN_FILE).exists():
        parts.insert(0, resolved.parent.name)
    return {"name": "/".join(parts), "fingerprint": formats.fingerprint(path)}


def named_records(patterns: str, paths: Sequence[str]) -> Named:
    """The names given for record files, and the files' sizes and ends.

    They may be terabytes, so that not all of their content is read.

    Raises: OSError.
    """
    digest = hashlib.sha256()
    for path in paths:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            digest.update(f"{size}\n".encode() + file.read(_ENDS))
            file.seek(max(0, size - _ENDS))
            digest.update(file.read(_ENDS))
    names = [pathlib.Path(x).name for x in patterns.split(",")]
    return {"name": ",".join(names), "fingerprint": digest.hexdigest()}


def named_text(name: str, text: str) -> Named:
    """A file's own name, and a fingerprint of what was read from it."""
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    return {"name": pathlib.Path(name).name, "fingerprint": fingerprint}


class Command(NamedTuple):
    """A command and its flags.

    Attributes:
        name: such as "finetune".
        settings: the values of all flags, by name.
        flags: the flags that were given, a line each, for FLAGS_FILE.
    """

    name: str
    settings: Mapping[str, Any]
    flags: str

    def with_setting(self, name: str, value: Any) -> "Command":
        """The command with another value of one setting."""
        return self._replace(settings={**self.settings, name: value})


class RunRecord(Callback):
    """The record of a folder, and the part that this process adds.

    Args:
        output_dir: of the run.
        command: the command that runs.
        inputs: the files that are read, by flag.
    Raises: ValueError if there is a record that cannot be read.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        command: Command,
        inputs: Mapping[str, Named],
    ):
        self._output = pathlib.Path(output_dir)
        self._command = command
        self._part = {
            "date": _now(),
            "versions": _versions(),
            "inputs": dict(inputs),
            "settings": {
                name: list(x) if isinstance(x, tuple) else x
                for name, x in command.settings.items()
                if name not in _PATHS
            },
        }
        self._known = read(output_dir)
        self._saved = saved_steps(self._output / CHECKPOINTS_FOLDER)

    def check(self, on_message: Callable[[str], object]) -> None:
        """Reports which settings changed since the checkpoints were written.

        Args:
            on_message: takes a line for each change.
        Raises: ValueError, naming the settings, if the run cannot be resumed
            with them.
        """
        if not self._saved:
            if self._known:
                on_message(
                    f"{self._output}: has no checkpoint of the earlier run; "
                    "starts at step 1."
                )
            return
        changes = list(_changes(self._last_part(), self._part))
        refused = [text for kind, text in changes if kind == "refused"]
        if refused:
            raise ValueError(
                f"--output_dir={self._output}: the run there cannot be "
                f"resumed with {', '.join(refused)}: that would be another "
                "run; give what it started with, or another --output_dir."
            )
        for kind, text in changes:
            on_message(f"{self._output}: {text}{_NOTES[kind]}")

    def _last_part(self):
        """The part that trained the checkpoints."""
        if not self._known or not self._known["parts"]:
            raise ValueError(
                f"--output_dir={self._output}: has checkpoints but no "
                f"{RUN_FILE}, which says how they were trained; give another "
                "--output_dir."
            )
        command = self._known["command"]
        if command != self._command.name:
            raise ValueError(
                f"--output_dir={self._output}: has the checkpoints of a "
                f"kbert-{command} run; give another --output_dir."
            )
        return self._known["parts"][-1]

    def on_train_begin(self, step):
        """Writes that steps after this one are trained."""
        parts = self._parts_until(step)
        if not parts or any(_changes(parts[-1], self._part)):
            parts.append({"first_step": step + 1, **self._part})
        parts[-1]["last_step"] = None
        self._write(parts)
        atomic_files.write_text(self._output / FLAGS_FILE, self._command.flags)

    def on_train_end(self, step):
        """Writes which step was the last."""
        self._write(self._parts_until(step))

    def _parts_until(self, step):
        """The recorded parts of these steps, without later steps."""
        parts = self._known["parts"] if self._known else []
        parts = [dict(x) for x in parts if x["first_step"] <= step]
        if parts:
            parts[-1]["last_step"] = step
        return parts

    def _write(self, parts):
        known = {"command": self._command.name, "parts": parts}
        if known != self._known:
            run_files.write_json(self._output / RUN_FILE, known)
        self._known = known


_NOTES = {
    "free": ", which is no change of the steps.",
    "longer": ": the learning-rate schedule now extends to there.",
    "version": ".",
}


def _changes(before, now) -> Iterator[tuple[str, str]]:
    """The kind and text of each change: --batch_size=16 (32 before)."""
    for name, value in now["settings"].items():
        was = before["settings"].get(name, value)
        if value != was:
            longer = name in _LENGTHS and value > was
            kind = "longer" if longer else _kind(name)
            yield kind, f"--{name}={_shown(value)} ({_shown(was)} before)"
    for name in {**before["inputs"], **now["inputs"]}:
        was, new = before["inputs"].get(name), now["inputs"].get(name)
        if (was or {}).get("fingerprint") == (new or {}).get("fingerprint"):
            continue
        text = f"--{name}={new['name'] if new else 'none'}"
        yield _kind(name), f"{text} ({_before(was, new)})"
    for name, version in now["versions"].items():
        was = before["versions"].get(name)
        if was != version:
            yield "version", f"{name} {version} ({was} before)"


def _kind(name):
    return "free" if name in _FREE else "refused"


def _before(was, new):
    if not was:
        return "none before"
    if new and new["name"] == was["name"]:
        return "with another content before"
    return f"{was['name']} before"


def _shown(value):
    if value is None:
        return "none"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


def flag_lines(settings: Mapping[str, Any]) -> list[str]:
    """The flags of a part's settings, such as --batch_size=32."""
    return [
        f"--{'' if x else 'no'}{name}"
        if isinstance(x, bool)
        else f"--{name}={_shown(x)}"
        for name, x in sorted(settings.items())
        if x is not None
    ]


def _now():
    return datetime.datetime.now(datetime.UTC).isoformat("T", "seconds")


def _versions():
    found = {}
    for name in ("kbert", "tensorflow", "keras"):
        distribution = _DISTRIBUTIONS.get(name, name)
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(distribution)
    return found


def read(output_dir: str | os.PathLike) -> Record | None:
    """The record of a run's folder, None if there is none.

    Raises: ValueError, naming file and field; OSError.
    """
    path = pathlib.Path(output_dir) / RUN_FILE
    return json_files.read(path, Record) if path.exists() else None
