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
    """The elementwise function of that name.

    "gelu" is the tanh form that the published BERT code uses, "gelu_erf" the
    exact one (Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2).
    Raises: ValueError, listing the names there are.
    """
    if hidden_act not in _ACTIVATIONS:
        raise ValueError(
            f"hidden_act is {hidden_act!r}; wanted one of "
            f"{sorted(_ACTIVATIONS)}."
        )
    return _ACTIVATIONS[hidden_act]
