# SPDX-License-Identifier: Apache-2.0
"""The activation functions that `hidden_act` names."""

import functools
import math
from collections.abc import Callable

from keras import ops

from kbert.layers.written_gradient import with_written_gradient

# x * (1 + tanh(_ROOT * (x + _CUBIC * x ** 3))) / 2 is the tanh form.
_ROOT, _CUBIC = math.sqrt(2 / math.pi), 0.044715


def activation(hidden_act: str) -> Callable:
    """The elementwise function of that name, of a tensor and `training`.

    "gelu" is the tanh form that the published BERT code uses, "gelu_erf" the
    exact one (Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2).
    Raises: ValueError, listing the names there are.
    """
    if hidden_act not in _ACTIVATIONS:
        raise ValueError(
            f"hidden_act is {hidden_act!r}; wanted one of "
            f"{sorted(_ACTIVATIONS)}."
        )
    answering, trained = _ACTIVATIONS[hidden_act]
    return lambda x, training=None: (trained if training else answering)(x)


@with_written_gradient
def _gelu_tanh(x):
    tanh = ops.tanh(x * (_ROOT + _ROOT * _CUBIC * ops.square(x)))
    half = 0.5 * tanh + 0.5

    def gradient(upstream):
        slope = _ROOT + 3 * _ROOT * _CUBIC * ops.square(x)
        slope = (0.5 - 0.5 * ops.square(tanh)) * slope
        return upstream * (half + x * slope)

    return x * half, gradient


@with_written_gradient
def _gelu_erf(x):
    z = x * math.sqrt(0.5)
    cdf = 0.5 * ops.erf(z) + 0.5  # of the normal distribution

    def gradient(upstream):
        x_times_density = z * ops.exp(-ops.square(z)) / math.sqrt(math.pi)
        return upstream * (cdf + x_times_density)

    return x * cdf, gradient


# To answer and to train.
_ACTIVATIONS = {
    "gelu": (functools.partial(ops.gelu, approximate=True), _gelu_tanh),
    "gelu_erf": (functools.partial(ops.gelu, approximate=False), _gelu_erf),
    "relu": (ops.relu, ops.relu),
}
