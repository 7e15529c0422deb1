# SPDX-License-Identifier: Apache-2.0
"""Many rows through a model, a few at a time, inside a graph."""

from collections.abc import Callable, Sequence

import tensorflow as tf

AT_ONCE = 32  # rows in the encoder, whatever there is in a batch


def map_in_chunks(
    step: Callable[[tf.Tensor, tf.Tensor], Sequence[tf.Tensor]],
    count: tf.Tensor,
    shapes: Sequence[tuple[int | None, ...]],
    at_once: int | tf.Tensor = AT_ONCE,
) -> list[tf.Tensor]:
    """Calls `step` on a few rows at a time and joins its results.

    Args:
        step: of the first row and the one after the last, which gives for
            each of `shapes` a float32 tensor; it is called for no rows too.
        count: () int32, how many rows there are.
        shapes: of what comes back, the first axis None.
        at_once: the most rows of a step.
    """
    steps = tf.maximum(-(-count // at_once), 1)

    def body(number, *arrays):
        first = number * at_once
        found = step(first, tf.minimum(first + at_once, count))
        written = [
            array.write(number, x)
            for array, x in zip(arrays, found, strict=True)
        ]
        return number + 1, *written

    empty = [
        tf.TensorArray(
            tf.float32, steps, infer_shape=False, element_shape=shape
        )
        for shape in shapes
    ]
    _, *arrays = tf.while_loop(
        lambda number, *_: number < steps,
        body,
        (0, *empty),
        parallel_iterations=1,  # for the memory of one
    )
    return [array.concat() for array in arrays]
