# SPDX-License-Identifier: Apache-2.0
"""Hugging Face's BertForPreTraining on PyTorch, as fast as possible.

It uses torch.compile, PyTorch's attention, the fused AdamW and autocast for
bfloat16. Logits are computed only at the predicted positions, by calling the
modules one by one; the model would compute them for every token.
"""

import numpy as np
import torch
import transformers

from benchmarks import peers
from benchmarks.peers import Steps
from benchmarks.peers.hugging_face import parameter_groups
from benchmarks.pretrain_batches import Batch, Work


def make_steps(
    work: Work, batches: list[Batch], *, dtype: str, remat: bool
) -> Steps:
    """See `benchmarks.peers`; `remat` is its gradient checkpointing."""
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = transformers.BertForPreTraining(
        transformers.BertConfig(
            vocab_size=work.vocab_size,
            hidden_size=work.hidden_size,
            num_hidden_layers=work.layers,
            num_attention_heads=work.heads,
            intermediate_size=4 * work.hidden_size,
            hidden_act="gelu_new",  # the tanh form
            hidden_dropout_prob=peers.DROPOUT,
            attention_probs_dropout_prob=peers.DROPOUT,
            max_position_embeddings=work.max_positions,
            attn_implementation="sdpa",
        )
    )
    model = model.to(device).train()
    if remat:
        model.gradient_checkpointing_enable()
    optimizer = torch.optim.AdamW(
        parameter_groups(model),
        lr=peers.LEARNING_RATE,
        betas=(peers.BETA_1, peers.BETA_2),
        eps=peers.EPSILON,
        fused=True,
    )
    tensors = [_tensors(batch, device) for batch in batches]
    loss_of = torch.compile(_loss)
    reduced = dtype != "float32"

    def step(i: int) -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=reduced):
            loss = loss_of(model, tensors[i])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), peers.CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    def wait(_) -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    count = sum(parameter.numel() for parameter in model.parameters())
    return Steps(count, step, wait=wait)


def _loss(model, batch):
    hidden, pooled = model.bert(
        batch["token_ids"],
        attention_mask=batch["padding_mask"],
        token_type_ids=batch["segment_ids"],
        return_dict=False,
    )
    picked = torch.take_along_dim(
        hidden, batch["mask_positions"].unsqueeze(-1), dim=1
    )
    mlm = model.cls.predictions(picked).flatten(0, 1).float()
    nsp = model.cls.seq_relationship(pooled).float()
    each = torch.nn.functional.cross_entropy(
        mlm, batch["mask_ids"].flatten(), reduction="none"
    )
    weights = batch["mask_weights"].flatten()
    return (each * weights).sum() / weights.sum() + (
        torch.nn.functional.cross_entropy(nsp, batch["next_sentence_labels"])
    )


def _tensors(batch: Batch, device: str) -> dict[str, torch.Tensor]:
    return {
        name: torch.from_numpy(
            np.asarray(
                array, "float32" if array.dtype == np.float32 else "int64"
            )
        ).to(device)
        for name, array in batch.items()
    }
