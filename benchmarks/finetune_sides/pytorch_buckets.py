# SPDX-License-Identifier: Apache-2.0
"""PyTorch's model on kbert's length-bucketed batches of classified texts.

The batches are made before, in another process, and are not timed. So the
process has no threads of TensorFlow, as in `pytorch`.
"""

import torch
import transformers

from benchmarks.finetune_sides import Result, Run, kbert_batches, pytorch


def finetune(run: Run) -> Result:
    """Trains on kbert's batches; answers as `pytorch` does."""
    epochs = kbert_batches.make(run)
    tokenizer = transformers.AutoTokenizer.from_pretrained(run.model)
    module = pytorch.task_module(run.data.task)
    _, labels = module.training_rows(run.data, tokenizer)
    rows = sum(len(batch["logits"]) for batch in epochs[0])
    return pytorch.train(
        run, lambda epoch: [_to_pytorch(b) for b in epochs[epoch]], rows, labels
    )


def _to_pytorch(batch: dict) -> pytorch.Batch:
    names = {
        "input_ids": "token_ids",
        "token_type_ids": "segment_ids",
        "attention_mask": "padding_mask",
        "labels": "logits",
    }
    return {
        name: torch.from_numpy(batch[ours].astype("int64"))
        for name, ours in names.items()
    }
