# SPDX-License-Identifier: Apache-2.0
"""Exports whose matrices have reduced precision, against rounding by hand."""

import gc

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from kbert.serving import replay
from kbert.serving.export import export
from kbert.serving.reduced_weights import ReducedWeights
from kbert.serving.signatures import Signatures
from tests.serving import signature_requests as requests
from tests.serving.conftest import SPECS


def _to_bfloat16(matrix, axis):
    del axis
    return matrix.astype(ml_dtypes.bfloat16).astype("float32")


def _to_int8(matrix, axis):
    step = np.abs(matrix).max(axis=axis, keepdims=True) / 127
    return np.round(matrix / step) * step


def _was_rounded(weight, rounded):
    """Rounds the token table, and blocks' matrices by their columns."""
    first, name = weight.path.split("/")[-2:]
    if first != "token_embedding" and not name.endswith("_kernel"):
        return False
    was = weight.numpy()
    weight.assign(rounded(was, 1 if first == "token_embedding" else 0))
    return np.abs(weight.numpy() - was).max() > 1e-3


@pytest.fixture
def policy(request):
    """Keras's, for the time of a test."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "rounded", "policy"),
    [
        ("int8", _to_int8, "float32"),
        ("bfloat16", _to_bfloat16, "mixed_bfloat16"),
    ],
    indirect=["policy"],
)
def test_it_answers_as_with_weights_rounded_by_hand(
    precision, rounded, policy, build, vocabulary, tmp_path, monkeypatch
):
    """Token table and blocks of a masked-LM, whose output is tied to it."""
    spec = SPECS["masked_lm"]
    parts = {"vocabulary": vocabulary, "spec": spec}
    model, by_hand = build(spec), build(spec)
    by_hand.set_weights(model.get_weights())
    names = [
        weight.path
        for weight in by_hand.weights
        if _was_rounded(weight, rounded)
    ]
    assert len(names) == 1 + 4 * 2  # the table, four in each block
    reduced = Signatures(model, precision=precision, **parts)
    monkeypatch.setattr(replay, "answers_of_new_process", _answered)
    found = export(reduced, tmp_path)

    variables = str(found.path / "variables" / "variables")
    reader = tf.train.load_checkpoint(variables)
    dtypes = [*reader.get_variable_to_dtype_map().values()]
    assert dtypes.count(tf.as_dtype(precision)) == len(names)

    served = replay.Served(found.path)
    expected = Signatures(by_hand, **parts).by_name()
    for one in replay.requests_of(found.path):
        name = one.model_spec.signature_name
        got = served.answer(one).outputs
        asked = {k: tf.make_ndarray(v) for k, v in one.inputs.items()}
        want = requests.ask(expected[name], asked)
        for key, value in want.items():
            if value.dtype == np.float32:
                numbers = tf.make_ndarray(got[key])
                np.testing.assert_allclose(numbers, value, atol=2e-4)


@pytest.mark.slow
def test_who_loads_a_file_again_does_not_lose_it(vocabulary, build, tmp_path):
    """In one process, with what is recommended for use without a server."""
    spec = SPECS["encoder"]
    signatures = Signatures(
        build(spec), precision="int8", vocabulary=vocabulary, spec=spec
    )
    graphs = signatures.by_name()
    root = tf.Module()
    root.weights = signatures.weights
    tf.saved_model.save(root, tmp_path, signatures=graphs)

    def answer(loaded):
        graph = loaded.signatures["embeddings"]
        return graph(text=tf.constant(["not good"]))["embedding"].numpy()

    first, second = (tf.saved_model.load(tmp_path) for _ in range(2))
    want = answer(first)
    del first
    gc.collect()
    np.testing.assert_array_equal(answer(second), want)
    asked = {"text": np.array(["not good"])}
    own = requests.ask(graphs["embeddings"], asked)["embedding"]
    np.testing.assert_allclose(own, want, atol=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "int4"])
def test_what_is_not_of_the_models_policy(precision, build):
    with pytest.raises(
        ValueError, match=f"precision is '{precision}' and the mod"
    ):
        ReducedWeights(build(SPECS["encoder"]), precision)


def _answered(folder):
    served = replay.Served(folder)
    return [served.answer(x) for x in replay.requests_of(folder)]
