# SPDX-License-Identifier: Apache-2.0
"""The model that a run saves: which step's weights, and their scores."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, TypedDict

from kbert import json_files
from kbert.checkpoints import folder
from kbert.checkpoints.folder import LoadedModel
from kbert.runs import run_files
from kbert.training import history, loop
from kbert.training.config import TrainConfig
from kbert.training.loop import FitResult

MODEL_FOLDER = "model"  # in output_dir
EVALUATION_FILE = "evaluation.json"


def write_evaluation(config: TrainConfig, scores: Mapping[str, object]) -> None:
    """Writes evaluation.json."""
    run_files.write_json(_evaluation_path(config), scores)


class _Evaluation(TypedDict, total=False):
    """The fields of evaluation.json that a resumed run reads."""

    step: int
    data: str
    before: dict[str, float | None]


def read_evaluation(config: TrainConfig) -> dict:
    """Reads evaluation.json; {} if there is none.

    Raises: ValueError, naming file and field; OSError.
    """
    path = _evaluation_path(config)
    if not path.exists():
        return {}
    return json_files.read(path, _Evaluation, others=Any)


def _evaluation_path(config):
    return pathlib.Path(config.output_dir) / EVALUATION_FILE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    """The step whose weights the model has when it is saved.

    Attributes:
        step: the step.
        fields: of evaluation.json: the step, whether it is the "best" or the
            "last", and the scores of both.
        line: the same for the user; empty without scores.
        is_restored: whether the model had other weights after training.
    """

    step: int
    fields: Mapping[str, object]
    line: str
    is_restored: bool


def choose_step(
    trainer: loop.Trainer, result: FitResult, config: TrainConfig
) -> Chosen:
    """Gives the model the weights of the best step, or leaves the last one's.

    Args:
        trainer: of the run.
        result: of the run.
        config: of the run, with `keep`.
    Raises: ValueError if the checkpoints of both are damaged.
    """
    step = result.step
    if not result.points or not config.eval_every:
        fields = {"step": step, "kept": "last"}
        return Chosen(step=step, fields=fields, line="", is_restored=False)
    best, last = history.best(result.points), result.points[-1]
    chosen = last if config.keep == "last" or not best else best
    is_restored = chosen.step != step
    if is_restored and not _restore(trainer, result, chosen.step):
        if not _restore(trainer, result, step):
            raise ValueError(
                f"--output_dir={config.output_dir}: the checkpoints of the "
                "best and of the last step are both damaged."
            )
        chosen = last
    is_best = bool(best) and chosen.step == best.step
    fields = {
        "step": chosen.step,
        "kept": "best" if is_best else "last",
        "best": best and {"step": best.step, **best.scores},
        "last": {"step": last.step, **last.scores},
    }
    return Chosen(
        step=chosen.step,
        fields=fields,
        line=_line(chosen, best, last),
        is_restored=is_restored,
    )


def _restore(trainer, result, step):
    """Restores a step's final weights; False if its checkpoint is damaged."""
    is_complete = result.checkpoints.restore_step(step)
    if is_complete:
        trainer.finish()
    return is_complete


def _line(chosen, best, last):
    if not best:
        return f"of step {last.step:,}, the last; no {last.metric} is finite"
    if best.step == last.step:
        return f"of step {last.step:,}, the last and the best: {last}"
    name, other = ("last", best) if chosen is last else ("best", last)
    other_name = "best" if chosen is last else "last"
    return (
        f"of step {chosen.step:,}, the {name}: {chosen}; step "
        f"{other.step:,}, the {other_name}, has {other.number:.4f}"
    )


def save(trained: LoadedModel, config: TrainConfig, chosen: Chosen) -> None:
    """Writes the model folder, and removes scores of another step's model.

    Raises: ValueError if another kind of folder has its name; OSError.
    """
    if read_evaluation(config).get("step", chosen.step) != chosen.step:
        _evaluation_path(config).unlink()
    path = pathlib.Path(config.output_dir) / MODEL_FOLDER
    folder.save(
        path,
        trained.model,
        config=trained.config,
        vocabulary=trained.vocabulary,
        spec=trained.spec,
        licences=trained.licences,
    )
    of_step = f", {chosen.line}" if chosen.line else ""
    print(f"{path}: the trained model{of_step}", flush=True)
