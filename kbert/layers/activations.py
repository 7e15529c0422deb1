# SPDX-License-Identifier: Apache-2.0
"""The activation functions that `hidden_act` names."""

import functools
from collections.abc import Callable

from keras import ops

_ACTIVATIONS = {
    "gelu": functools.partial(ops.gelu, approximate=True),
    "gelu_erf": functools.partial(ops.gelu, approximate=False),
    "relu": ops.relu,
}


def activation(hidden_act: str) -> Callable:
    """Returns the elementwise function with this name.

    "gelu" is the tanh approximation of the published BERT code, "gelu_erf"
    the exact function (Hendrycks and Gimpel 2016, arXiv:1606.08415, section
    2).

    Raises: ValueError, listing the known names.
    """
    if hidden_act not in _ACTIVATIONS:
        raise ValueError(
            f"hidden_act is {hidden_act!r}; needs one of "
            f"{sorted(_ACTIVATIONS)}."
        )
    return _ACTIVATIONS[hidden_act]
