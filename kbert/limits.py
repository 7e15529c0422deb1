# SPDX-License-Identifier: Apache-2.0
"""The ranges of numeric settings: flags, and fields with the same names."""

from kbert.config import MAX_SEQ_LENGTH
from kbert.json_files import Range

_COUNT = Range(at_least=1, at_most=2**31 - 1)
_LENGTH = Range(at_least=3, at_most=MAX_SEQ_LENGTH)
_POSITIVE = Range(more_than=0, at_most=10**9)

RANGES = {
    "accumulate_steps": _COUNT,
    "batch_size": Range(at_least=1, at_most=2**20),
    "clip_norm": _POSITIVE,
    "dropout": Range(at_least=0, less_than=1),
    "dupe_factor": Range(at_least=1, at_most=10**6),
    "ema_decay": Range(at_least=0, less_than=1),
    "epochs": Range(at_least=1, at_most=10**6),
    "eval_every": _COUNT,
    "freeze_blocks": Range(at_least=0, at_most=10**6),
    "keep_checkpoints": Range(at_least=1, at_most=10**6),
    "layer_decay": Range(more_than=0, at_most=1),
    "learning_rate": Range(more_than=0, at_most=1000),
    "log_every": _COUNT,
    "margin": Range(at_least=0, at_most=10**6),
    "masked_lm_prob": Range(more_than=0, less_than=1),
    "max_answer_length": Range(at_least=1, at_most=MAX_SEQ_LENGTH),
    "max_ngram": Range(at_least=1, at_most=100),
    "max_predictions": Range(at_least=1, at_most=MAX_SEQ_LENGTH),
    "max_query_length": Range(at_least=1, at_most=MAX_SEQ_LENGTH),
    "max_score_drop": Range(at_least=0, at_most=10**9),
    "max_seq_length": _LENGTH,
    "max_windows": Range(at_least=1, at_most=64),
    "n_best": Range(at_least=1, at_most=20),
    "nearest": Range(at_least=1, at_most=10**6),
    "num_negatives": Range(at_least=1, at_most=1000),
    "num_sentences": Range(at_least=1, at_most=10**6),
    "num_shards": Range(at_least=1, at_most=10**6),
    "num_workers": Range(at_least=1, at_most=1024),
    "patience": _COUNT,
    "peak_tflops": _POSITIVE,
    "relative_margin": Range(at_least=0, less_than=1),
    "save_every": _COUNT,
    "scale": Range(more_than=0, at_most=10**6),
    "seed": Range(at_least=0, at_most=2**32 - 1),  # NumPy's range
    "short_seq_prob": Range(at_least=0, less_than=1),
    "start_timeout": Range(at_least=0, at_most=10**7),
    "steps": _COUNT,
    "stride": Range(at_least=1, at_most=MAX_SEQ_LENGTH),
    "top_k": Range(at_least=1, at_most=MAX_SEQ_LENGTH),
    "vocab_size": Range(at_least=1, at_most=2**21),
    "warmup_share": Range(at_least=0, less_than=1),
    "weight_decay": Range(at_least=0, at_most=1000),
    "worst": Range(at_least=0, at_most=10**9),
}
