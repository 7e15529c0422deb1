# SPDX-License-Identifier: Apache-2.0
"""The example runs on records that are made for it."""

import numpy as np

from examples import pretrain_with_fit
from kbert.checkpoints import folder
from kbert.data import record_writer


def test_the_script_leaves_a_model_folder(vocabulary, tmp_path):
    text = "\n\n".join(["the film was good .\nnot very long .\n"] * 40)
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    record_writer.make_records(
        [str(tmp_path / "text.txt")],
        str(tmp_path / "records"),
        vocabulary=vocabulary,
        options=record_writer.RecordOptions(
            max_seq_length=16,
            max_predictions=3,
            masked_lm_prob=0.15,
            whole_words=False,
            max_ngram=1,
            short_seq_prob=0.1,
            next_sentence=True,
            packed=False,
            masked=True,
            dupe_factor=1,
            num_shards=1,
            seed=0,
        ),
    )
    folders = str(tmp_path / "records"), str(tmp_path / "model")
    pretrain_with_fit.main(*folders, 3)
    loaded = folder.load(tmp_path / "model")
    assert loaded.spec.task == "pretraining"
    bias = loaded.model.get_layer("mlm_bias").bias.numpy()
    assert np.abs(bias).max() > 0  # it has been trained
