# SPDX-License-Identifier: Apache-2.0
"""What many tests start from: a tiny config, ten words, one batch."""

import importlib
import os
import pathlib
import signal
import sys

# Before anything imports TensorFlow or Keras.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

# kbert is imported in the fixtures: one broken part fails its own tests only.

# What a shell's script starts with & ignores Ctrl-C, and so would each process
# that a test starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TEN_WORDS = (
    *("the", "film", "was", "good", "bad"),
    *("not", "very", "long", "##er", "."),
)

# Two logical devices stand in for two GPUs; computing uses both anyway.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)

GOLDEN = pathlib.Path(__file__).parent / "golden"


def pytest_addoption(parser):
    parser.addoption(
        "--write-golden",
        action="store_true",
        help="Rewrite tests/golden/ instead of comparing with it.",
    )
    parser.addoption(
        "--data_dir", type=pathlib.Path, help="Data sets for slow tests."
    )
    parser.addoption(
        "--oldest_server",
        help="A Python that has the versions of the oldest server.",
    )


def pytest_collection_modifyitems(config, items):
    if config.getoption("--write-golden"):
        items[:] = [i for i in items if "golden" in i.fixturenames]


@pytest.fixture
def golden(request):
    """A function of a name and arrays: compare with tests/golden/NAME.npz."""

    def compare(name: str, arrays: dict[str, np.ndarray]):
        file = GOLDEN / f"{name}.npz"
        if request.config.getoption("--write-golden"):
            GOLDEN.mkdir(exist_ok=True)
            np.savez(file, **arrays)
        stored = np.load(file)
        assert set(stored) == set(arrays), file
        for key, want in stored.items():
            # Relative to the largest: small elements carry its rounding.
            error = np.abs(arrays[key] - want).max() / np.abs(want).max()
            assert error < 1e-5, (
                f"{file}: {key} is off by {error:.1e}. If it should be: "
                "`make golden`, and say why in CHANGELOG.md."
            )

    return compare


@pytest.fixture
def data_dir(request) -> pathlib.Path:
    """A folder of public data sets, with vocabularies in vocab/."""
    folder = request.config.getoption("--data_dir")
    return folder or pytest.skip("needs --data_dir")


@pytest.fixture(autouse=True)
def _as_at_first():
    """No test sees another's random numbers or dtypes."""
    keras.utils.set_random_seed(20181011)
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def vocabulary():
    """Ids 0 to 4 are the special tokens, 5 to 14 the ten words."""
    from kbert.text.vocabulary import Vocabulary

    return Vocabulary(tokens=SPECIAL_TOKENS + TEN_WORDS, lower_case=True)


@pytest.fixture(scope="session")
def record_options():
    """Of small masked pairs; other records replace what they need."""
    from kbert.data.record_options import RecordOptions

    return RecordOptions(
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
    )


@pytest.fixture
def records(vocabulary, record_options, tmp_path):
    """A folder of records, their masked words hard to guess at first."""
    from kbert.data import record_writer

    text = "\n\n".join(["the film was good .\nnot very long .\n"] * 40)
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    record_writer.make_records(
        [str(tmp_path / "text.txt")],
        str(tmp_path / "records"),
        vocabulary=vocabulary,
        options=record_options,
    )
    return str(tmp_path / "records")


@pytest.fixture(scope="session")
def tiny_config():
    """Two layers of width 16 that are built in a moment."""
    from kbert.config import BertConfig

    return BertConfig(
        vocab_size=len(SPECIAL_TOKENS + TEN_WORDS),
        lower_case=True,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )


@pytest.fixture
def batch() -> dict[str, np.ndarray]:
    """Encoder and masked-LM inputs: 3 rows, 8 tokens, 2 predictions.

    Rows 1 and 2 end in padding, row 2 has one segment and one prediction; no
    two inputs and no two rows are alike.
    """
    inputs = {
        "token_ids": [
            [2, 5, 6, 4, 8, 3, 9, 3],
            [2, 10, 4, 3, 4, 14, 3, 0],
            [2, 11, 4, 13, 3, 0, 0, 0],
        ],
        "segment_ids": [
            [0, 0, 0, 0, 0, 0, 1, 1],
            [0, 0, 0, 0, 1, 1, 1, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
        ],
        "padding_mask": [
            [1, 1, 1, 1, 1, 1, 1, 1],
            [1, 1, 1, 1, 1, 1, 1, 0],
            [1, 1, 1, 1, 1, 0, 0, 0],
        ],
        "mask_positions": [[3, 6], [2, 4], [2, 0]],
    }
    return {name: np.array(rows, "int32") for name, rows in inputs.items()}


@pytest.fixture
def call(capsys, monkeypatch):
    """Calls a command's main, in this process, which has TensorFlow already.

    Returns what it prints on stdout.

    Its flags go away again: commands have flags of the same names.
    """

    def call(name, *arguments):
        before = set(flags.FLAGS)
        module = importlib.import_module(f"kbert.bin.{name}")
        # By its name absl knows the command's own flags, as in `bin.run`.
        monkeypatch.setattr(sys, "argv", [module.__name__])
        try:
            module.main(flags.FLAGS([name, *arguments]))
        finally:
            for flag in set(flags.FLAGS) - before:
                delattr(flags.FLAGS, flag)
            flags.FLAGS.unparse_flags()
            del sys.modules[module.__name__]
        return capsys.readouterr().out

    return call


@pytest.fixture(scope="session")
def build(tiny_config):
    """A function of a TaskSpec: its model, whose weights tell texts apart."""
    from kbert import tasks

    def build(spec):
        model = tasks.build(tiny_config, spec)
        rng = np.random.default_rng(2)
        for variable in model.weights:
            variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
        return model

    return build


@pytest.fixture
def task_of(tiny_config, vocabulary):
    """A function of a TaskSpec: its task, without a model, to score with."""
    from kbert import tasks
    from kbert.checkpoints.folder import LoadedModel

    def task_of(spec):
        loaded = LoadedModel(None, tiny_config, vocabulary, spec)
        return tasks.task_class(spec.task)(loaded)

    return task_of


@pytest.fixture
def serve(build, vocabulary):
    """A function of a TaskSpec: the predictor of its model."""
    from kbert.tasks.predictor import make_predictor

    def serve(spec):
        return make_predictor(build(spec), vocabulary=vocabulary, spec=spec)

    return serve
