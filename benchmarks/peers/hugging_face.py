# SPDX-License-Identifier: Apache-2.0
"""Hugging Face's BertForPreTraining on PyTorch, eager.

It computes the logits of every token: labels are -100 at tokens that are not
predicted. The optimizer is the default of Trainer, the fused AdamW.
"""

import numpy as np
import torch
import transformers

from benchmarks import peers
from benchmarks.peers import Steps
from benchmarks.pretrain_batches import Batch, Work

_NOT_PREDICTED = -100


def make_steps(
    work: Work, batches: list[Batch], *, dtype: str, xla: bool
) -> Steps:
    """See `benchmarks.peers`."""
    if dtype != "float32" or xla:
        raise ValueError(f"Only float32, no XLA; got {dtype}, xla={xla}.")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=work.vocab_size,
        hidden_size=work.hidden_size,
        num_hidden_layers=work.layers,
        num_attention_heads=work.heads,
        intermediate_size=4 * work.hidden_size,
        hidden_act="gelu_new",  # the tanh form
        hidden_dropout_prob=peers.DROPOUT,
        attention_probs_dropout_prob=peers.DROPOUT,
        max_position_embeddings=work.max_positions,
    )
    model = transformers.BertForPreTraining(config).train()
    optimizer = torch.optim.AdamW(
        parameter_groups(model),
        lr=peers.LEARNING_RATE,
        betas=(peers.BETA_1, peers.BETA_2),
        eps=peers.EPSILON,
        fused=True,
    )
    tensors = [_inputs(batch) for batch in batches]

    def step(i: int) -> torch.Tensor:
        loss = model(**tensors[i]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), peers.CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return Steps(sum(p.numel() for p in model.parameters()), step)


def parameter_groups(model: torch.nn.Module) -> list[dict]:
    """Matrices, which decay; biases and norms, which do not."""
    decayed, rest = [], []
    for name, parameter in model.named_parameters():
        plain = name.endswith("bias") or "LayerNorm" in name
        (rest if plain else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": peers.WEIGHT_DECAY},
        {"params": rest, "weight_decay": 0.0},
    ]


def _inputs(batch: Batch) -> dict[str, torch.Tensor]:
    labels = np.full(batch["token_ids"].shape, _NOT_PREDICTED)
    rows, columns = np.nonzero(batch["mask_weights"])
    positions = batch["mask_positions"][rows, columns]
    labels[rows, positions] = batch["mask_ids"][rows, columns]
    arrays = {
        "input_ids": batch["token_ids"],
        "token_type_ids": batch["segment_ids"],
        "attention_mask": batch["padding_mask"],
        "labels": labels,
        "next_sentence_label": batch["next_sentence_labels"],
    }
    return {
        name: torch.from_numpy(array.astype("int64"))
        for name, array in arrays.items()
    }
