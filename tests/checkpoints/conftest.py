# SPDX-License-Identifier: Apache-2.0
"""What the tests of the foreign formats compare, and how."""

import numpy as np
import pytest

from kbert.checkpoints.folder import copy_weights
from kbert.models import build_encoder


@pytest.fixture
def random_inputs():
    """Of a config: rows of random lengths, two segments, padding."""

    def make(config):
        rng = np.random.default_rng(11)
        shape = (7, config.max_position_embeddings - 1)
        lengths = rng.integers(2, shape[1] + 1, shape[0])
        lengths[0] = shape[1]
        column = np.arange(shape[1])
        mask = column < lengths[:, None]
        second = column >= rng.integers(1, shape[1], shape[0])[:, None]
        inputs = {
            "token_ids": rng.integers(0, config.vocab_size, shape) * mask,
            "segment_ids": second & mask,
            "padding_mask": mask,
            "mask_positions": rng.integers(0, lengths[:, None], (7, 3)),
        }
        return {name: rows.astype("int32") for name, rows in inputs.items()}

    return make


@pytest.fixture
def outputs():
    """Of a LoadedModel and inputs: its outputs and its encoder's.

    "sequence" holds the rows of real tokens only: (T, H).
    """

    def run(loaded, inputs):
        encoder = build_encoder(loaded.config)
        kept = copy_weights(loaded.model, encoder)
        names = {tensor.name for tensor in loaded.model.inputs}
        got = {
            **encoder({n: inputs[n] for n in encoder.input}),
            **loaded.model({n: inputs[n] for n in inputs if n in names}),
        }
        got = {name: rows.numpy() for name, rows in got.items()}
        if "pooler" in kept:
            del got["pooled"]
        real = inputs["padding_mask"].astype(bool)
        return {**got, "sequence": got["sequence"][real]}

    return run


@pytest.fixture
def difference():
    """The largest difference of two arrays, relative to the largest value."""

    def compute(got, want):
        assert got.shape == want.shape
        return np.abs(got - want).max() / np.abs(want).max()

    return compute
