# SPDX-License-Identifier: Apache-2.0
"""Stored outputs of each model, for weights from a formula and one batch."""

import dataclasses

import keras
import numpy as np
import pytest

from kbert.models import build_encoder, build_pretrainer
from kbert.tasks.classification.head import build_classifier


def _three_classes(config):
    return build_classifier(config, 3)


MODELS = {
    "encoder": build_encoder,
    "pretrainer": build_pretrainer,
    "classifier": _three_classes,
}


def _outputs(model, batch):
    # A formula: no version of an initializer may change the weights. Squares
    # modulo a prime, between -1/2 and 1/2, look random and are exact.
    for number, variable in enumerate(model.weights):
        steps = np.arange(np.prod(variable.shape)).reshape(variable.shape)
        variable.assign((steps**2 * 7919 + number * 101) % 1009 / 1009 - 0.5)
    outputs = model({name: batch[name] for name in model.input})
    return {k: keras.ops.convert_to_numpy(v) for k, v in outputs.items()}


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_the_stored(golden, tiny_config, batch, name):
    golden(name, _outputs(MODELS[name](tiny_config), batch))


def test_sinusoidal_outputs_are_the_stored(golden, tiny_config, batch):
    config = dataclasses.replace(tiny_config, position_embedding="sinusoidal")
    golden("encoder_sinusoidal", _outputs(build_encoder(config), batch))
