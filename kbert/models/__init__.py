# SPDX-License-Identifier: Apache-2.0
"""Functions that build functional Keras models from a BertConfig."""

from kbert.models.encoder import build_encoder, encode
from kbert.models.feature_extractor import build_features
from kbert.models.freezing import freeze
from kbert.models.pooling import POOLINGS, pool, unit_length
from kbert.models.pretrainer import build_pretrainer
from kbert.models.reduced_vocabulary import with_reduced_vocabulary
from kbert.models.unpadded import encoder_of, without_padding

__all__ = [
    "POOLINGS",
    "build_encoder",
    "build_features",
    "build_pretrainer",
    "encode",
    "encoder_of",
    "freeze",
    "pool",
    "unit_length",
    "with_reduced_vocabulary",
    "without_padding",
]
