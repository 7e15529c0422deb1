# SPDX-License-Identifier: Apache-2.0
"""Keras layers, one per file, written in `keras.ops` for every backend.

Each axis has one letter: B batch, S tokens, T tokens of a batch without
padding, P predictions, C choices, H hidden, N heads, D head width, V
vocabulary. Where the rank changes inside a function, the names of variables
end with the letters of their axes.
"""

from kbert.layers.add_bias import AddBias
from kbert.layers.embeddings import Embeddings
from kbert.layers.encoder_block import EncoderBlock, rematerialize
from kbert.layers.fold_choices import FoldChoices
from kbert.layers.join_windows import JoinWindows
from kbert.layers.layer_mix import LayerMix
from kbert.layers.layer_norm import LayerNorm
from kbert.layers.mlm_transform import MlmTransform
from kbert.layers.unfold_choices import UnfoldChoices

__all__ = [
    "AddBias",
    "Embeddings",
    "EncoderBlock",
    "FoldChoices",
    "JoinWindows",
    "LayerMix",
    "LayerNorm",
    "MlmTransform",
    "UnfoldChoices",
    "rematerialize",
]
