# SPDX-License-Identifier: Apache-2.0
"""PyTorch with transformers' model and tokenizer, padded to the longest."""

import numpy as np
import torch
import transformers

from benchmarks.serving_sides import LONGEST, THREADS, Model


class Embedder(torch.nn.Module):
    """BertModel and the mean of the tokens."""

    def __init__(self, folder: str, attention: str | None = None):
        super().__init__()
        self.bert = transformers.BertModel.from_pretrained(
            folder, add_pooling_layer=False, attn_implementation=attention
        )

    def forward(self, input_ids, attention_mask, token_type_ids):
        """(B, S) int64 each -> (B, H) float32."""
        rows = self.bert(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
        ).last_hidden_state
        counted = attention_mask.unsqueeze(-1).to(rows.dtype)
        return (rows * counted).sum(1) / counted.sum(1)


def tokenize(tokenizer, texts: list[str], kind: str):
    """The model's inputs as PyTorch's or numpy's arrays."""
    return tokenizer(
        texts,
        padding=True,
        truncation=True,
        max_length=LONGEST,
        return_tensors=kind,
    )


def prepare(model: Model) -> None:
    """Nothing: the folder is its own."""


def make(model: Model):
    """See `benchmarks.serving_sides`."""
    torch.set_num_threads(THREADS)
    folder = str(model.hugging_face)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    embedder = Embedder(folder).eval()

    def answer(texts: list[str]) -> np.ndarray:
        with torch.inference_mode():
            return embedder(**tokenize(tokenizer, texts, "pt")).numpy()

    return answer
