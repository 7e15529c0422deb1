# SPDX-License-Identifier: Apache-2.0
"""PyTorch's steps, with kbert's batches and initial head."""

import importlib.metadata
from typing import Any

import torch
from torch.nn import functional

from benchmarks.finetune_sides import Run, pytorch
from benchmarks.steps_sides import STEPS, Arrays, Given, Outputs

_INPUTS = {
    "input_ids": "token_ids",
    "token_type_ids": "segment_ids",
    "attention_mask": "padding_mask",
}


def train(run: Run, given: Given) -> tuple[str, Outputs]:
    """Trains without dropout; gives the name of transformers' class too."""
    module = pytorch.task_module(run.data.task)
    labels = [str(i) for i in range(len(given.bias))]
    if run.data.task == "regression":
        labels = []
    model = module.make_model(run, labels)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    name = "qa_outputs" if hasattr(model, "qa_outputs") else "classifier"
    head = getattr(model, name)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(given.kernel.T.copy()))
        head.bias.copy_(torch.from_numpy(given.bias.copy()))
    optimizer, schedule = pytorch.make_optimizer(model, run, STEPS)

    def outputs(model, batch):
        return module.outputs(model(**_inputs(batch)))

    def loss(model, batch):
        found = outputs(model, batch)
        return _loss(found, batch, given.output, run.data.task)

    def answer(batch):
        model.eval()
        with torch.no_grad():
            return outputs(model, batch).numpy()

    pytorch.train_steps(model, optimizer, schedule, given.batches[:1], loss)
    first = answer(given.batches[0])
    pytorch.train_steps(model, optimizer, schedule, given.batches[1:], loss)
    return type(model).__name__, Outputs(
        first,
        [answer(batch) for batch in given.dev],
        {p: importlib.metadata.version(p) for p in ("torch", "transformers")},
    )


def _inputs(batch: Arrays) -> dict[str, Any]:
    return {k: torch.from_numpy(batch[v]).long() for k, v in _INPUTS.items()}


def _loss(
    outputs: torch.Tensor, batch: Arrays, output: str, task: str
) -> torch.Tensor:
    """As transformers has it; for answers over what may be chosen alone."""
    labels = torch.from_numpy(batch[output])
    if task == "regression":
        return functional.mse_loss(outputs, labels)
    labels = labels.long()
    if task == "question_answering":
        outputs = outputs.masked_fill(~_choosable(batch)[:, None], -1e9)
    if task == "tagging":
        counted = torch.from_numpy(batch[f"weights_{output}"]) > 0
        labels = labels.masked_fill(~counted, -100)
    return functional.cross_entropy(
        outputs.reshape(-1, outputs.shape[-1]), labels.reshape(-1)
    )


def _choosable(batch: Arrays) -> torch.Tensor:
    """(B, S) bool: [CLS], and the second text without its [SEP]."""
    real = torch.from_numpy(batch["padding_mask"]) != 0
    goes_on = functional.pad(real[:, 1:], (0, 1))
    chosen = (torch.from_numpy(batch["segment_ids"]) == 1) & goes_on
    chosen[:, 0] = True
    return chosen
