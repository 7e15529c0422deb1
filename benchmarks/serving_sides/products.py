# SPDX-License-Identifier: Apache-2.0
"""Only the matrix products for the tokens of the texts.

They are a lower limit of the time: the products of the dense layers, one after
another, in TensorFlow. Tokens are counted before; padding, attention, norms and
activations are left out. The results have no meaning.
"""

import functools
import json

import numpy as np

from benchmarks.serving_sides import LONGEST, Model


def prepare(model: Model) -> None:
    """Nothing: the products are of random numbers."""


def make(model: Model):
    """See `benchmarks.serving_sides`."""
    import tensorflow as tf
    import transformers

    config = json.loads((model.hugging_face / "config.json").read_text())
    width, inner = config["hidden_size"], config["intermediate_size"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        str(model.hugging_face)
    )

    def kernel(rows, columns):
        normal = tf.random.stateless_normal([rows, columns], [rows, columns])
        return tf.Variable(normal * rows**-0.5)

    blocks = [
        [
            kernel(width, 3 * width),
            kernel(width, width),
            kernel(width, inner),
            kernel(inner, width),
        ]
        for _ in range(config["num_hidden_layers"])
    ]

    @tf.function(input_signature=[tf.TensorSpec([None, width], tf.float32)])
    def run(rows):
        for qkv, output, first, second in blocks:
            rows = (rows @ qkv)[:, :width] @ output @ first @ second
        return rows

    @functools.cache
    def num_tokens(text):
        ids = tokenizer(text, truncation=True, max_length=LONGEST)["input_ids"]
        return len(ids)

    @functools.cache
    def rows_of(texts):
        count = sum(map(num_tokens, texts))
        return tf.random.stateless_normal([count, width], [count, 1])

    def answer(texts: list[str]) -> np.ndarray:
        return run(rows_of(tuple(texts))).numpy()[: len(texts)]

    return answer
