# SPDX-License-Identifier: Apache-2.0
"""Throughput of a run: tokens, floating-point operations and memory."""

import resource
import time
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from kbert import features
from kbert.config import BertConfig

# The names of what `measures` returns.
MEASURES = (
    *("tokens_per_second", "model_tflops"),
    *("flop_utilization", "peak_memory_gb"),
)


class Work(NamedTuple):
    """The rows that were trained on, as sums over rows, without padding.

    Attributes:
        rows: number of rows.
        tokens: number of tokens.
        squares: squared number of tokens of a row.
        predictions: number of masked tokens.
        reads: number of tokens of a row times the positions that the outputs
            read, which are its predictions and [CLS].
    """

    rows: float
    tokens: float
    squares: float
    predictions: float
    reads: float


def counted(inputs, weights) -> tf.Tensor:
    """The Work of a batch as a float32 vector, from its padding mask."""

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
    """Returns the floating-point operations that training on it requires.

    Counts the matrix products, 2 operations for each weight and row forward
    and 4 backward, without padding and recomputation: 6 N a token and the
    attention, as Chowdhery et al. 2022, arXiv:2204.02311, appendix B. The
    outputs read few positions, so the last block's queries, all that follows
    them and the masked-LM output are counted at these positions only. The
    token table counts where it is a factor of a product.
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


class Throughput:
    """Measures the speed between two logs.

    Args:
        take_work: returns the Work of all replicas since its last call.
        config: of the model.
        peak_tflops: of a device, in 10**12 operations a second; or None.
    """

    def __init__(
        self,
        take_work: Callable[[], Work],
        config: BertConfig,
        peak_tflops: float | None,
    ):
        self._take_work = take_work
        self._config, self._peak_tflops = config, peak_tflops
        self._start: float | None = None

    def start(self) -> None:
        """Starts to measure: what was done before does not count."""
        self._take_work()
        self._start = time.monotonic()

    def take(self) -> dict[str, float]:
        """The `measures` since `start` or the last call; {} before `start`."""
        if self._start is None:
            return {}
        work, now = self._take_work(), time.monotonic()
        seconds, self._start = now - self._start, now
        return measures(
            work, seconds, config=self._config, peak_tflops=self._peak_tflops
        )

    def skip(self, seconds: float) -> None:
        """Leaves out this time, in which nothing was trained."""
        if self._start is not None:
            self._start += seconds


def measures(
    work: Work,
    seconds: float,
    *,
    config: BertConfig,
    peak_tflops: float | None,
) -> dict[str, float]:
    """The throughput of a training run.

    Args:
        work: of all replicas.
        seconds: in which it was done.
        config: of the model.
        peak_tflops: of a device, in 10**12 operations a second; or None.
    Returns: tokens_per_second, model_tflops; flop_utilization, of all
        devices' peak, if that is known; peak_memory_gb (2**30 bytes), of the
        process on a processor, else of the GPU that used most.
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
