# SPDX-License-Identifier: Apache-2.0
"""Only the matrix products of a pre-training step.

They are a lower limit of a step's time: forward and backward products with the
sizes of kbert's model, one after another, without embeddings, norms, biases,
activations, softmax, dropout, losses or optimizer. As in kbert, the last block
computes only the tokens that the heads read.
"""

import math

import tensorflow as tf

from benchmarks.peers import Steps
from benchmarks.pretrain_batches import Batch, Work


def make_steps(
    work: Work, batches: list[Batch], *, dtype: str, xla: bool
) -> Steps:
    """See `benchmarks.peers`; there is no loss."""
    if dtype != "float32" or xla:
        raise ValueError("The products are those of float32 without XLA.")
    width = work.hidden_size
    blocks = [_block_kernels(width) for _ in range(work.layers)]
    pooler, transform = _kernel(width, width), _kernel(width, width)
    tokens = _kernel(width, work.vocab_size)
    kernels = [*tf.nest.flatten(blocks), pooler, transform, tokens]
    inputs = tf.random.stateless_normal(
        [work.batch * work.length, width], [0, 1]
    )

    @tf.function
    def step(inputs: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)  # as if there were embeddings below
            rows = inputs
            for block in blocks[:-1]:
                rows = _block(rows, block, work, work.length)
            rows = _block(rows, blocks[-1], work, work.predictions + 1)  # [CLS]
            outputs = [
                rows[: work.batch] @ pooler,
                rows[work.batch :] @ transform @ tokens,
            ]
        return tape.gradient(  # all, or else TensorFlow would leave some out
            outputs,
            [inputs, *kernels],
            output_gradients=outputs,  # any numbers will do
        )

    return Steps(
        parameters=sum(math.prod(kernel.shape) for kernel in kernels),
        run=lambda _: step(inputs),
        loss=lambda _: math.nan,
    )


def _kernel(inputs: int, outputs: int) -> tf.Variable:
    # As large as to keep the numbers at about 1 on their way.
    normal = tf.random.stateless_normal([inputs, outputs], [inputs, outputs])
    return tf.Variable(normal * inputs**-0.5)


def _block_kernels(width: int) -> dict[str, tf.Variable]:
    return {
        "query": _kernel(width, width),
        "key": _kernel(width, width),
        "value": _kernel(width, width),
        "output": _kernel(width, width),
        "inner": _kernel(width, 4 * width),
        "outer": _kernel(4 * width, width),
    }


def _block(
    rows: tf.Tensor, kernels: dict[str, tf.Variable], work: Work, positions: int
) -> tf.Tensor:
    """An encoder block with outputs at `positions` tokens of each text."""
    width = work.hidden_size // work.heads

    def heads(rows: tf.Tensor, length: int) -> tf.Tensor:
        # (B * N, length, D) without the transposition that true heads need.
        return tf.reshape(rows, [work.batch * work.heads, length, width])

    query = heads(rows[: work.batch * positions] @ kernels["query"], positions)
    key = heads(rows @ kernels["key"], work.length)
    value = heads(rows @ kernels["value"], work.length)
    context = tf.matmul(query, key, transpose_b=True) @ value
    context = tf.reshape(context, [-1, work.hidden_size])
    # Sums of D * S numbers, where softmax would give means.
    context *= (width * work.length) ** -0.5
    return context @ kernels["output"] @ kernels["inner"] @ kernels["outer"]
