# SPDX-License-Identifier: Apache-2.0
"""How fast a run is: tokens, floating-point operations and memory."""

import resource
from typing import NamedTuple

import tensorflow as tf

from kbert import features
from kbert.config import BertConfig

# What `measures` gives, which says nothing of how good the model is.
MEASURES = (
    *("tokens_per_second", "model_tflops"),
    *("flop_utilization", "peak_memory_gb"),
)


class Work(NamedTuple):
    """What was trained on, padding left out; sums over rows.

    Attributes:
        rows: how many.
        tokens: of all rows.
        squares: of each row's tokens, several texts in a row together.
        predictions: masked tokens.
        reads: of each row's tokens times the places that the outputs read,
            which are its predictions and [CLS].
    """

    rows: float
    tokens: float
    squares: float
    predictions: float
    reads: float


def counted(inputs, weights) -> tf.Tensor:
    """The Work of a batch as a float32 vector; costs a glance at the mask."""

    def number(values):
        return tf.math.count_nonzero(values, axis=-1, dtype=tf.float32)

    tokens = number(inputs[features.ENCODER_INPUTS[2]])  # of choices too
    predictions = tf.zeros_like(tokens)
    if features.MLM_LOGITS in weights:
        predictions = number(weights[features.MLM_LOGITS])
    columns = (
        *(tf.ones_like(tokens), tokens, tokens**2),
        *(predictions, tokens * (predictions + 1)),
    )
    return tf.stack([tf.reduce_sum(column) for column in columns])


def flops(work: Work, config: BertConfig) -> float:
    """Floating-point operations that training on this takes at the least.

    Those of the matrix products, 2 for each weight and number forward and 4
    backward, nothing computed twice and no padding: the 6 N a token and the
    attention of Chowdhery et al. 2022, arXiv:2204.02311, appendix B, of which
    there are fewer here for the outputs read few places. The last block's
    queries and all that follows them, and the masked-LM output, count at these
    places only, and the token table counts where it is multiplied with.
    """
    H, I = config.hidden_size, config.intermediate_size  # noqa: E741
    above = config.num_hidden_layers - 1  # blocks whose whole output is read
    read = work.predictions + work.rows
    products = (
        above * (4 * H * H + 2 * H * I) * work.tokens
        + 2 * H * H * work.tokens  # the last block's keys and values
        + (2 * H * H + 2 * H * I) * read
        + 2 * H * (above * work.squares + work.reads)  # attention
        + (H * H + H * config.vocab_size) * work.predictions
        + H * H * work.rows  # the pooler
    )
    return 6.0 * products


def measures(
    work: Work,
    seconds: float,
    *,
    config: BertConfig,
    peak_tflops: float | None,
) -> dict[str, float]:
    """What a log says of the speed.

    Args:
        work: that all replicas did.
        seconds: in which they did.
        config: of the model.
        peak_tflops: of a device, in 10**12 operations a second; or None.
    Returns: tokens_per_second, model_tflops; flop_utilization, of all
        devices' peak, if that is known; peak_memory_gb (2**30 bytes), of the
        process on a processor, of the fullest of its GPUs otherwise.
    """
    tflops = flops(work, config) / seconds / 1e12
    values = {
        "tokens_per_second": work.tokens / seconds,
        "model_tflops": tflops,
    }
    if peak_tflops:
        devices = tf.distribute.get_strategy().num_replicas_in_sync
        values["flop_utilization"] = tflops / (peak_tflops * devices)
    return {**values, "peak_memory_gb": _peak_memory() / 2**30}


def _peak_memory():
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    infos = [tf.config.experimental.get_memory_info(g.name) for g in gpus]
    return max(info["peak"] for info in infos)
