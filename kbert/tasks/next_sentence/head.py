# SPDX-License-Identifier: Apache-2.0
"""The next-sentence output of pre-training by itself."""

from kbert import features
from kbert.models import build_pretrainer
from kbert.tasks.heads import Head

HEAD = Head(
    build=lambda config, spec: build_pretrainer(config, [features.NSP_LOGITS])
)
