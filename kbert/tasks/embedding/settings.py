# SPDX-License-Identifier: Apache-2.0
"""How a text becomes a vector, and the loss that vectors are trained by."""

import dataclasses
import itertools
import re
from typing import Annotated, Literal

from kbert import json_files
from kbert.json_files import Range
from kbert.limits import RANGES
from kbert.options import option
from kbert.tasks.long_texts import LongTexts

Pooling = Literal["cls", "mean", "max", "mean_sqrt_len_tokens"]
Loss = Literal["ranking", "cosent", "cosine", "triplet", "margin_mse"]
LABELLED = ("cosent", "cosine", "margin_mse")  # the losses that take labels
ACTIVATIONS = ("linear", "tanh", "relu", "gelu_erf")

_Width = Annotated[int, Range(at_least=1, at_most=2**16)]
_DENSE = re.compile(rf"[1-9]\d{{0,4}}:({'|'.join(ACTIVATIONS)})")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """How an encoder's vectors of tokens become a text's, by default.

    Attributes:
        pooling: see `kbert.pool`.
        normalize: whether the vector has length 1.
    Raises: ValueError, naming the field.
    """

    pooling: Pooling = "mean"
    normalize: bool = False

    def __post_init__(self):
        """Checks the fields that a task.json may have wrong."""
        json_files.check(vars(self), type(self), "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(EncoderSettings, LongTexts):
    """How a text becomes a vector, and how such vectors are trained.

    Attributes:
        pooling: see `kbert.pool`.
        dense: layers after the pooling, each "SIZE:ACTIVATION".
        dimensions: keep this many of the first numbers; None for all.
        normalize: whether the vector that remains has length 1.
        query_prompt: a text that is put before each query.
        document_prompt: the same, before each document.
        loss: see `kbert.tasks.embedding.head.EmbeddingLoss`; None for
            "ranking", or "cosent" if rows have labels.
        scale: of the cosines in the losses "ranking" and "cosent".
        symmetric: whether "ranking" also looks for each positive's anchor.
        margin: of the loss "triplet".
        matryoshka: the loss is also that of these many first numbers.
        long_texts: and others, see `LongTexts`; the vectors are joined before
            the dense layers. A prompt is in a text's first window.
    Raises: ValueError, naming the field.
    """

    pooling: Pooling = option(
        "how the vectors of tokens become one: cls, mean, max or "
        "mean_sqrt_len_tokens; by default as the initial model's, or mean.",
        "mean",
    )
    normalize: bool = option("vectors have length 1.", False)
    dense: tuple[str, ...] = option(
        "dense layers after the pooling, such as 256:tanh.", ()
    )
    dimensions: _Width | None = option(
        "keep this many of the first numbers of a vector.", None
    )
    query_prompt: str = option("a text before each query.", "")
    document_prompt: str = option("a text before each document.", "")
    loss: Loss | None = option(
        "ranking, cosent, cosine, triplet or margin_mse; by default ranking, "
        "or cosent if rows have labels.",
        None,
    )
    scale: Annotated[float, RANGES["scale"]] = option(
        "of cosines in the losses ranking and cosent; by default 20.", 20.0
    )
    symmetric: bool = option(
        "the loss ranking also looks for the anchor of each positive.", False
    )
    margin: Annotated[float, RANGES["margin"]] = option(
        "of the loss triplet, by default 1.", 1.0
    )
    matryoshka: tuple[_Width, ...] = option(
        "train vectors that can be shortened to any of these dimensions, such "
        "as 256,128,64.",
        (),
    )

    def __post_init__(self):
        """Checks the fields that a task.json may have wrong."""
        for name in ("dense", "matryoshka"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        super().__post_init__()
        self.check_long_texts()
        for layer in self.dense:
            if not _DENSE.fullmatch(layer):
                raise ValueError(
                    f"dense is {layer!r}; needs SIZE:ACTIVATION, one of "
                    f"{', '.join(ACTIVATIONS)}."
                )

    @property
    def dense_layers(self) -> list[tuple[int, str]]:
        """The size and the activation of each dense layer."""
        pairs = (layer.split(":") for layer in self.dense)
        return [(int(size), activation) for size, activation in pairs]

    def num_dense_weights(self, hidden_size: int) -> int:
        """The weights of the dense layers on vectors of this width."""
        sizes = [hidden_size, *(size for size, _ in self.dense_layers)]
        pairs = itertools.pairwise(sizes)
        return sum((before + 1) * size for before, size in pairs)

    def check_width(self, hidden_size: int) -> None:
        """Checks the dimensions against the width of the vectors.

        Raises: ValueError, naming the field.
        """
        sizes = [size for size, _ in self.dense_layers]
        width = ([hidden_size] + sizes)[-1]
        if self.dimensions and self.dimensions > width:
            raise ValueError(
                f"dimensions is {self.dimensions}; the vectors have {width}."
            )
        width = self.dimensions or width
        if self.matryoshka and max(self.matryoshka) > width:
            raise ValueError(
                f"matryoshka is {max(self.matryoshka)}; the vectors have "
                f"{width}."
            )
