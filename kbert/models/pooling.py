# SPDX-License-Identifier: Apache-2.0
"""Pools the vectors of a text's tokens into one."""

from keras import ops

POOLINGS = ("cls", "mean", "max")


def pool(sequence, padding_mask, pooling: str, normalize: bool = False):
    """Pools the encoder's output as sentence-transformers does.

    Args:
        sequence: (B, S, H) float.
        padding_mask: (B, S) int32; positions with 0 are ignored. [CLS] and
            [SEP] count as tokens.
        pooling: "cls" for the vector of the first token, without the pooler;
            "mean" or "max" over the tokens of a text.
        normalize: whether to divide each vector by its Euclidean norm.
    Returns: (B, H) float32.
    Raises: ValueError for an unknown pooling.
    Source: Reimers and Gurevych 2019, arXiv:1908.10084, section 3.
    """
    sequence = ops.cast(sequence, "float32")
    is_token_BS1 = ops.expand_dims(ops.not_equal(padding_mask, 0), -1)
    if pooling == "cls":
        vectors = sequence[:, 0]
    elif pooling == "mean":
        counted = ops.cast(is_token_BS1, "float32")
        count_B1 = ops.sum(counted, axis=1)
        total = ops.sum(sequence * counted, axis=1)
        vectors = total / ops.maximum(count_B1, 1.0)
    elif pooling == "max":
        vectors = ops.max(ops.where(is_token_BS1, sequence, -1e9), axis=1)
    else:
        raise ValueError(
            f"pooling is {pooling!r}; needs one of {list(POOLINGS)}."
        )
    if normalize:
        squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
        vectors = vectors / ops.sqrt(ops.maximum(squares, 1e-24))
    return vectors
