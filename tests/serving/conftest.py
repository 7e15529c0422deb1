# SPDX-License-Identifier: Apache-2.0
"""A server of any task, whose model has weights that tell texts apart."""

import numpy as np
import pytest

from kbert import tasks
from kbert.serving import make_server


@pytest.fixture
def serve(tiny_config, vocabulary):
    """A function of a TaskSpec."""

    def serve(spec):
        model = tasks.build(tiny_config, spec)
        rng = np.random.default_rng(2)
        for variable in model.weights:
            variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
        return make_server(model, vocabulary=vocabulary, spec=spec)

    return serve
