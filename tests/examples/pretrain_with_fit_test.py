# SPDX-License-Identifier: Apache-2.0
"""The example runs on records that are made for it."""

import numpy as np
import pytest

from examples import pretrain_with_fit
from kbert.checkpoints import folder


@pytest.mark.slow
def test_the_script_leaves_a_model_folder(records, tmp_path):
    pretrain_with_fit.main(records, str(tmp_path / "model"), 3)
    loaded = folder.load(tmp_path / "model")
    assert loaded.spec.task == "pretraining"
    bias = loaded.model.get_layer("mlm_bias").bias.numpy()
    assert np.abs(bias).max() > 0  # it has been trained
