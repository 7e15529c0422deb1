# SPDX-License-Identifier: Apache-2.0
"""Functions from a BertConfig to a functional keras.Model."""

from kbert.models.encoder import build_encoder, encode
from kbert.models.freezing import freeze
from kbert.models.pretrainer import build_pretrainer

__all__ = ["build_encoder", "build_pretrainer", "encode", "freeze"]
