# SPDX-License-Identifier: Apache-2.0
"""Pre-trains a model with Keras's compile and fit.

    python examples/pretrain_with_fit.py RECORDS OUTPUT_DIR [STEPS]

RECORDS is a folder that kbert-make-records wrote.
"""

import sys

import keras

from kbert import tasks
from kbert.bin import standard_streams
from kbert.checkpoints import folder
from kbert.config import BertConfig
from kbert.data import record_batches, record_sets
from kbert.training import losses, optimizer


def main(records: str, output_dir: str, steps: int) -> None:
    """Trains a tiny model and saves it as a kbert model folder."""
    keras.utils.set_random_seed(0)
    record_set = record_sets.find(records)
    config = BertConfig.from_json(
        "tiny",
        vocab_size=len(record_set.vocabulary),
        lower_case=record_set.vocabulary.lower_case,
    )
    spec = tasks.TaskSpec(
        task="pretraining",
        max_seq_length=record_set.row.max_seq_length,
        num_texts=2,
    )
    model = tasks.build(config, spec)
    schedule = optimizer.WarmupDecay(2e-3, steps // 10, steps)
    model.compile(
        optimizer=optimizer.AdamW(schedule, global_clipnorm=1.0),
        loss=losses.pretraining_losses(),
        weighted_metrics=losses.pretraining_metrics(),
    )
    batches = record_batches.dataset(record_set, batch_size=16, seed=0)
    model.fit(batches, steps_per_epoch=steps, verbose=2)
    folder.save(
        output_dir,
        model,
        config=config,
        vocabulary=record_set.vocabulary,
        spec=spec,
    )


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    with standard_streams.utf8_until_closed():
        main(sys.argv[1], sys.argv[2], int((*sys.argv[3:], 500)[0]))
