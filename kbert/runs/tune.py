# SPDX-License-Identifier: Apache-2.0
"""A grid of fine-tuning runs, one after another, and their scores.

Each trial has its own process and its own folder. search.json in
the search's folder has all that is known: a search that was stopped resumes
from it, and from the checkpoints of the trial that was under way.
"""

import contextlib
import dataclasses
import functools
import itertools
import math
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from kbert import atomic_files, input_files, json_files, markdown, process
from kbert.json_files import Range
from kbert.runs import run_files, stop_signals
from kbert.runs.progress import clock

SEARCH_FILE, TABLE_FILE = "search.json", "search.md"
MODEL_FOLDER = "model"  # of a trial; the best one's is copied to the search's
# In a trial's folder, next to its model: how it was trained, and its scores.
# Named here too, for the modules that write them take seconds to import.
EVALUATION_FILE = "evaluation.json"
RECORD_FILES = ("run.json", "flags.txt", EVALUATION_FILE)
OUTPUT_FILE = "output.txt"  # in a trial's folder, what it printed
SEED = "seed"  # the flag that makes no other setting
# Of a trial: "done" has a score, "failed" an error, "stopped" only seconds.
DONE, FAILED, STOPPED = "done", "failed", "stopped"

Values = Mapping[str, float | int]  # by flag


@dataclasses.dataclass
class Trial:
    """A run of the grid.

    Attributes:
        values: of its flags.
        state: DONE, FAILED, STOPPED, or "" before it starts.
        score: its metric's on validation data, if it is done.
        model: path of its model in the search's folder, if it is done.
        error: the line with which it failed.
        seconds: that it took so far, in all its processes.
    """

    values: Values
    state: str = ""
    score: float = math.nan
    model: str = ""
    error: str = ""
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """Its folder's: learning_rate=5e-05_batch_size=16_seed=0."""
        return "_".join(f"{k}={v}" for k, v in self.values.items())

    @property
    def setting(self) -> tuple[tuple[str, float], ...]:
        """The setting, which trials of other seeds share."""
        return tuple((k, v) for k, v in self.values.items() if k != SEED)


@dataclasses.dataclass(frozen=True)
class Setting:
    """The trials that differ in their seed alone, of which some are done."""

    values: Values
    trials: Sequence[Trial]

    @property
    def scores(self) -> list[float]:
        """Of those that are done."""
        return [trial.score for trial in self.trials if trial.state == DONE]

    @property
    def mean(self) -> float:
        """Of the scores; nan if there is none."""
        return statistics.fmean(self.scores) if self.scores else math.nan

    @property
    def deviation(self) -> float:
        """The sample's standard deviation.

        It is nan of fewer than two scores, or if one is not finite.
        """
        found = self.scores
        if len(found) < 2 or not all(map(math.isfinite, found)):
            return math.nan
        return statistics.stdev(found)


class Search:
    """The trials of an output folder, those of earlier grids among them.

    Args:
        output_dir: has search.json, or will.
        command: the flags of each trial but those of the grid and
            --output_dir; None to see what there is.
        inputs: paths of what the trials read, by flag: "init" is a model's.
    Raises: ValueError if search.json is of another command or of other
        inputs, or is missed, or if one is none; OSError.
    """

    def __init__(
        self,
        output_dir: str,
        command: Sequence[str] | None = None,
        inputs: Mapping[str, str] = MappingProxyType({}),
    ):
        self._output = pathlib.Path(output_dir)
        self._inputs = {x: _named(x, path) for x, path in inputs.items()}
        self.trials: list[Trial] = []
        self.metric = ""
        self.command = list(command or [])
        path = self._output / SEARCH_FILE
        if not path.exists():
            if command is None:
                raise ValueError(f"{path}: not there; needs a search's.")
            return
        kept = json_files.read(path, _Kept, others=Any)
        if command is not None and kept["command"] != self.command:
            raise ValueError(
                f"{path}: of a search with the flags "
                f"{' '.join(kept['command'])}; needs the same, or another "
                "--output_dir."
            )
        self._inputs = self._unchanged(kept.get("inputs", {}), inputs)
        self.command, self.metric = kept["command"], kept["metric"]
        for number, trial in enumerate(kept["trials"]):
            if trial.get("score") is None:  # JSON has no nan
                trial["score"] = math.nan
            model = pathlib.PurePath(trial.get("model", ""))
            if model.is_absolute() or ".." in model.parts:
                raise ValueError(
                    f"{path}: trials[{number}].model is {str(model)!r}; needs "
                    "a path in the search's folder."
                )
        self.trials = [Trial(**trial) for trial in kept["trials"]]

    def _unchanged(self, known, paths):
        for flag, named in self._inputs.items():
            if named["fingerprint"] != known.get(flag, named)["fingerprint"]:
                raise ValueError(
                    f"--{flag}={paths[flag]}: has changed since the search in "
                    f"{self._output} began; needs what it was, or another "
                    "--output_dir."
                )
        return known | self._inputs

    def run(
        self,
        grid: Mapping[str, Sequence[float | int]],
        program: Sequence[str],
        say: Callable[[str], object],
    ) -> bool:
        """Runs all trials that are not done, each in its own process.

        Args:
            grid: the values of each flag; all combinations are tried.
            program: what runs the command.
            say: takes a line that the user should see.
        Returns: whether it came to its end; if not, SIGTERM, Ctrl-C or a
            closed terminal has stopped it, and the running trial is saved.
        Raises: ValueError if a trial leaves no scores; OSError.
        """
        planned = self._planned(grid)
        left = [trial for trial in planned if trial.state != DONE]
        with _stop_signs() as stop:
            for index, trial in enumerate(left):
                rest = left[index:]
                number = f"{len(planned) - len(rest) + 1}/{len(planned)}"
                say(f"{number}  {trial.name}{_estimate(planned, rest)}")
                self._run(trial, program, stop)
                self.write()
                if trial.state == STOPPED:
                    return False
                say(f"{number}  {self._result(trial)}")
        return True

    def _planned(self, grid):
        """The trials of a grid, new ones and those that are known."""
        known = {trial.name: trial for trial in self.trials}
        planned = []
        for values in itertools.product(*grid.values()):
            trial = Trial(dict(zip(grid, values, strict=True)))
            planned.append(known.get(trial.name, trial))
        self.trials += [x for x in planned if x.name not in known]
        return planned

    def _run(self, trial, program, stop):
        folder = self._output / trial.name
        folder.mkdir(exist_ok=True)
        given = [f"--{name}={value}" for name, value in trial.values.items()]
        began = time.monotonic()
        with (folder / OUTPUT_FILE).open("ab") as output:
            start = output.tell()
            code = stop.run(
                [*program, *self.command, *given, f"--output_dir={folder}"],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        trial.seconds += time.monotonic() - began
        if code == stop_signals.EXIT_CODE or stop.came:
            trial.state = STOPPED
        elif code:
            trial.state, trial.error = FAILED, _error(folder, start, code)
        else:
            self._take(trial, folder)

    def _take(self, trial, folder):
        """The score of a trial that is done, and the best model's path."""
        path = folder / EVALUATION_FILE
        if not path.exists():
            raise ValueError(f"{path}: not there; give --dev after the --.")
        found = json_files.read(path, _Evaluation, others=Any)
        self.metric = found["metric"]
        trial.score = _number(path, found, self.metric)
        trial.model = f"{trial.name}/{MODEL_FOLDER}"
        trial.state, trial.error = DONE, ""
        # They are most of what it wrote, and nothing resumes from them.
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)

    def _result(self, trial):
        if trial.state == FAILED:
            return f"failed: {trial.error}"
        score = f"{self.metric.replace('_', ' ')} {trial.score:.4f}"
        return f"{score}, {clock(trial.seconds)}"

    def settings(self) -> list[Setting]:
        """In the order in which they were first asked for."""
        groups: dict[Any, list[Trial]] = {}
        for trial in self.trials:
            groups.setdefault(trial.setting, []).append(trial)
        return [Setting(dict(key), found) for key, found in groups.items()]

    def best(self) -> tuple[Setting, Trial] | None:
        """The setting with the best mean, and its best trial."""
        sign = -1 if self.metric == "loss" else 1
        found = [x for x in self.settings() if math.isfinite(x.mean)]
        if not found:
            return None
        setting = max(found, key=lambda x: sign * x.mean)
        done = [trial for trial in setting.trials if trial.state == DONE]
        return setting, max(done, key=lambda x: sign * x.score)

    def copy_best_model(self) -> pathlib.Path | None:
        """Copies the best trial's model to model/, if there is one.

        With it are copied the record of its run and its scores.

        Raises: OSError.
        """
        best = self.best()
        if not best:
            return None
        path = self._output / MODEL_FOLDER
        with atomic_files.writing_folder(path, "replace") as new:
            shutil.copytree(
                self._output / best[1].model,
                new,
                copy_function=_copy_own,
                dirs_exist_ok=True,
            )
        for name in RECORD_FILES:
            kept = self._output / best[1].name / name
            if kept.exists():
                input_files.check_inside(kept)
                atomic_files.write_bytes(self._output / name, kept.read_bytes())
        return path

    def write(self) -> None:
        """Writes search.json and search.md."""
        best = self.best()
        content = {
            "command": self.command,
            "inputs": self._inputs,
            "metric": self.metric,
            "best": best and {"setting": best[0].values, "trial": best[1].name},
            "settings": [
                {
                    **setting.values,
                    "trials": len(setting.scores),
                    "mean": setting.mean,
                    "deviation": setting.deviation,
                }
                for setting in self.settings()
            ],
            "trials": [dataclasses.asdict(trial) for trial in self.trials],
        }
        run_files.write_json(self._output / SEARCH_FILE, content)
        atomic_files.write_text(self._output / TABLE_FILE, self.table())

    def table(self) -> str:
        """Markdown: a row for each setting, the best one marked."""
        best = self.best()
        names = list(dict.fromkeys(k for x in self.trials for k in x.values))
        names = [name for name in names if name != SEED]
        pick = min if self.metric == "loss" else max
        rows = [
            (
                *(str(setting.values.get(name, "")) for name in names),
                f"{len(setting.scores)} of {len(setting.trials)}",
                setting.mean,
                setting.deviation,
                pick(filter(math.isfinite, setting.scores), default=math.nan),
                "<- best" if best and best[0].values == setting.values else "",
            )
            for setting in self.settings()
        ]
        head = (*names, "done", "mean", "deviation", "best", "")
        parts = [
            f"# {self.metric or 'no score yet'}",
            markdown.table(head, rows, terminal=True),  # it is printed too
        ]
        if best:
            path = self._output / best[1].model
            parts.append(f"The best trial of the best setting: {path}")
        failed = [trial for trial in self.trials if trial.state == FAILED]
        parts += [f"{trial.name} failed: {trial.error}" for trial in failed]
        return "\n\n".join(parts) + "\n"


def _named(flag, path) -> run_files.Named:
    if flag != "init":
        return run_files.named_file(path)
    from kbert.runs import run_record  # it takes seconds to import

    return run_record.named_model(path)


class _KeptTrial(TypedDict):
    values: dict[str, int | float]
    state: NotRequired[Literal["done", "failed", "stopped", ""]]
    score: NotRequired[float | None]
    model: NotRequired[str]
    error: NotRequired[str]
    seconds: NotRequired[Annotated[float, Range(at_least=0)]]


class _Kept(TypedDict):
    """The fields of search.json that a search resumes from."""

    command: list[str]
    inputs: NotRequired[dict[str, run_files.Named]]
    metric: str
    trials: list[_KeptTrial]


class _Evaluation(TypedDict):
    metric: str
    best: NotRequired[dict[str, str | float | None]]


def _number(path, scores, metric) -> float:
    """The metric's; "loss" is the sum of the losses of all outputs."""
    names = [metric]
    if metric == "loss":
        names = [name for name in scores if name.endswith("loss")]
    if missing := [name for name in names if name not in scores] or not names:
        raise ValueError(f"{path}: no {missing if names else ['loss']}.")
    numbers = [
        json_files.check(scores[name], float | None, f"{path}: {name}")
        for name in names
    ]
    return sum(math.nan if x is None else x for x in numbers)  # JSON: no nan


def _error(folder, start, code) -> str:
    """The last line that a failed trial printed after this many bytes."""
    with (folder / OUTPUT_FILE).open("rb") as file:
        file.seek(start)
        lines = file.read().decode("utf-8", "replace").split("\n")
    said = [line for line in map(str.strip, lines) if line]
    last = said[-1] if said else "no word"
    if code < 0:
        return f"{signal.Signals(-code).name} after: {last}"
    return last


def _estimate(planned, rest) -> str:
    """The time that is left, by what an epoch took so far."""

    def epochs(trials):
        return sum(trial.values.get("epochs", 1) for trial in trials)

    done = [trial for trial in planned if trial.state == DONE]
    if not done:
        return ""
    seconds = sum(trial.seconds for trial in done) / epochs(done) * epochs(rest)
    return f", {clock(seconds)} left in all"


def _copy_own(source, target):
    input_files.check_inside(source)
    shutil.copyfile(source, target)


class _Stop:
    """Whether the search was asked to stop, and its running process."""

    def __init__(self):
        self.came = False
        self._process = None
        self._presses = stop_signals.Presses()

    def __call__(self, number, _):
        self.came = True
        second = number == signal.SIGINT and self._presses.is_second()
        if self._process and second:
            self._process.kill()
        elif self._process:
            self._process.terminate()  # it saves

    def run(self, command, **outputs) -> int:
        """Runs a process, which gets signals only from here."""
        if self.came:
            return stop_signals.EXIT_CODE
        # In its own group, which Ctrl-C does not reach a second time.
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=functools.partial(
                process.end_with_parent, signal.SIGTERM, os.getpid()
            ),
            **outputs,
        ) as self._process:
            if self.came:  # just now
                self._process.terminate()
            code = self._process.wait()
        self._process = None
        return code


@contextlib.contextmanager
def _stop_signs() -> Iterator[_Stop]:
    stop = _Stop()
    kept = {n: signal.getsignal(n) for n in stop_signals.STOP_SIGNALS}
    for number, handler in kept.items():
        if handler is not signal.SIG_IGN:  # nohup
            signal.signal(number, stop)
    try:
        yield stop
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
