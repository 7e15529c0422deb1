# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from benchmarks import finetune_parts, finetune_runs
from benchmarks.finetune_sides import Data, Run


@pytest.mark.slow
def test_all_are_the_same_model(tmp_path):
    table = tmp_path / "train.tsv"
    table.write_text(
        "text\tlabel\nA fine film.\tgood\nBad.\tbad\nNo more of it.\tbad\n"
    )
    options = {"text_columns": ["text"], "label_column": "label"}
    run = Run(
        model=finetune_runs.model_folder(),
        data=Data(
            task="classification",
            train=str(table),
            dev=str(table),
            options=options | {"max_seq_length": 16},
        ),
        epochs=1,
        learning_rate=1e-4,
        batch_size=2,
        seed=0,
    )
    batches, trainers = finetune_parts.make(run)
    inputs = batches[0][0]
    found = {
        part: trainer.model(inputs, training=False)["logits"].numpy()
        for part, trainer in trainers.items()
    }
    assert set(found) == set(finetune_parts.VARIANTS)
    for logits in found.values():
        np.testing.assert_allclose(logits, found["with padding"], atol=1e-5)
    for trainer in trainers.values():
        trainer.train_step(batches[0])
        changed = trainer.model(inputs, training=False)["logits"].numpy()
        assert np.abs(changed - found["with padding"]).max() > 1e-4
