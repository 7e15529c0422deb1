# SPDX-License-Identifier: Apache-2.0
"""Functions whose gradient is written out, for training.

The gradient that TensorFlow derives from a forward pass takes more operations,
each over all rows. Layers use such functions in training alone: a SavedModel
holds no gradients, and warns where one is written out.
"""

from collections.abc import Callable

from keras import ops


def with_written_gradient(function: Callable) -> Callable:
    """What `function` gives, with the gradient that it gives along.

    Args:
        function: takes tensors, not variables; returns its result, and a
            function from the result's gradient to those of the tensors.
    """

    def differentiated(*tensors):
        found, gradient = function(*tensors)

        def of_upstream(*args, upstream=None):
            # Keras's backends pass it in one way or the other.
            return gradient(args[0] if upstream is None else upstream)

        return found, of_upstream

    # Not wrapped before it is called: a backend without gradients warns.
    return lambda *tensors: ops.custom_gradient(differentiated)(*tensors)
