# SPDX-License-Identifier: Apache-2.0
"""Functions whose gradient is written out, for training.

The gradient that TensorFlow derives from a forward pass takes more operations,
each over all rows. A model that answers is without those written here: a
SavedModel holds no gradients, and warns of them.
"""

from collections.abc import Callable

from keras import ops


def with_written_gradient(function: Callable) -> Callable:
    """A function of tensors that is differentiated as it says itself.

    Args:
        function: of tensors, no variables -> what it gives, and a function of
            that one's gradient -> a gradient for each tensor.
    """

    @ops.custom_gradient
    def differentiated(*tensors):
        found, gradient = function(*tensors)

        def of_upstream(*args, upstream=None):
            # Keras's backends pass it in one way or the other.
            return gradient(args[0] if upstream is None else upstream)

        return found, of_upstream

    return differentiated
