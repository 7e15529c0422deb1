# SPDX-License-Identifier: Apache-2.0
"""Pools the vectors of a text's tokens into one."""

from keras import ops

POOLINGS = ("cls", "mean", "max", "mean_sqrt_len_tokens")


def pool(sequence, padding_mask, pooling: str, normalize: bool = False):
    """Pools the encoder's output as sentence-transformers does.

    Args:
        sequence: (B, S, H) float.
        padding_mask: (B, S) int32; positions with 0 are ignored. [CLS] and
            [SEP] count as tokens.
        pooling: "cls" for the vector of the first token, without the pooler;
            "mean" or "max" over the tokens of a text; for their sum divided by
            the root of their number "mean_sqrt_len_tokens".
        normalize: whether to divide each vector by its Euclidean norm.
    Returns: (B, H) float32.
    Raises: ValueError for an unknown pooling.
    Source: Reimers and Gurevych 2019, arXiv:1908.10084, section 3.
    """
    sequence = ops.cast(sequence, "float32")
    is_token_BS1 = ops.expand_dims(ops.not_equal(padding_mask, 0), -1)
    if pooling == "cls":
        vectors = sequence[:, 0]
    elif pooling in ("mean", "mean_sqrt_len_tokens"):
        counted = ops.cast(is_token_BS1, "float32")
        count_B1 = ops.maximum(ops.sum(counted, axis=1), 1.0)
        total = ops.sum(sequence * counted, axis=1)
        by = count_B1 if pooling == "mean" else ops.sqrt(count_B1)
        vectors = total / by
    elif pooling == "max":
        vectors = ops.max(ops.where(is_token_BS1, sequence, -1e9), axis=1)
    else:
        raise ValueError(
            f"pooling is {pooling!r}; needs one of {list(POOLINGS)}."
        )
    return unit_length(vectors) if normalize else vectors


def unit_length(vectors):
    """Divides vectors (..., D) by their Euclidean norms, but for zeros."""
    squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return vectors / ops.sqrt(ops.maximum(squares, 1e-24))
