# SPDX-License-Identifier: Apache-2.0
"""The numbers that flags may have, whichever command has the flag."""

from absl import flags

from kbert.json_files import Range

_COUNT = Range(at_least=1, at_most=2**31 - 1)
_LENGTH = Range(at_least=3, at_most=2**17)
_POSITIVE = Range(more_than=0, at_most=10**9)

# A flag without an entry may have any finite number of less than 64 bits.
_RANGES = {
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
    "masked_lm_prob": Range(more_than=0, less_than=1),
    "max_answer_length": Range(at_least=1, at_most=2**17),
    "max_ngram": Range(at_least=1, at_most=2**17),
    "max_predictions": Range(at_least=1, at_most=2**17),
    "max_query_length": Range(at_least=1, at_most=2**17),
    "max_score_drop": Range(at_least=0, at_most=10**9),
    "max_seq_length": _LENGTH,
    "n_best": Range(at_least=1, at_most=20),
    "num_sentences": Range(at_least=1, at_most=10**6),
    "num_shards": Range(at_least=1, at_most=10**6),
    "num_workers": Range(at_least=1, at_most=1024),
    "patience": _COUNT,
    "peak_tflops": _POSITIVE,
    "save_every": _COUNT,
    "seed": Range(at_least=0, at_most=2**32 - 1),  # what NumPy takes
    "short_seq_prob": Range(at_least=0, less_than=1),
    "start_timeout": Range(at_least=0, at_most=10**7),
    "steps": _COUNT,
    "stride": Range(at_least=1, at_most=2**17),
    "top_k": Range(at_least=1, at_most=2**17),
    "vocab_size": Range(at_least=1, at_most=2**21),
    "warmup_share": Range(at_least=0, less_than=1),
    "weight_decay": Range(at_least=0, at_most=1000),
    "worst": Range(at_least=0, at_most=10**9),
}
_ANY = Range(at_least=1 - 2**63, at_most=2**63 - 1)


def check() -> None:
    """Sees that all flags that are numbers lie in their ranges.

    Raises: ValueError, naming the flag.
    """
    for name in flags.FLAGS:
        value = flags.FLAGS[name].value
        if type(value) not in (int, float):
            continue
        limits = _RANGES.get(name, _ANY)
        if value not in limits:
            # The range of any number says no more than that it is finite.
            needed = "a finite number" if limits is _ANY else limits
            raise ValueError(f"--{name}={value}: needs {needed}.")
