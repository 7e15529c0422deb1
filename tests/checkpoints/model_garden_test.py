# SPDX-License-Identifier: Apache-2.0
"""The import of Model Garden's checkpoints against its own models."""

import json

import numpy as np
import pytest
import tensorflow as tf

from kbert.checkpoints import google, model_garden

FIELDS = {
    "vocab_size": 15,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 28,
    "max_position_embeddings": 24,
    "type_vocab_size": 3,
    "hidden_act": "gelu",
}


@pytest.fixture(scope="module")
def garden():
    """Model Garden's modules, which are Keras 2."""
    pytest.importorskip("tf_keras")
    modeling = pytest.importorskip("official.nlp.modeling")
    return modeling


@pytest.fixture
def make_encoder(garden):
    """An encoder of a class; no weight is 0 or 1, as biases begin."""

    def make(name="BertEncoder", **arguments):
        encoder = getattr(garden.networks, name)(
            vocab_size=15,
            hidden_size=16,
            num_layers=2,
            num_attention_heads=4,
            inner_dim=28,
            max_sequence_length=24,
            type_vocab_size=3,
            **arguments,
        )
        encoder(encoder.inputs)
        return _randomized(encoder)

    return make


@pytest.fixture
def make_pretrainer(garden, make_encoder):
    def make(head="next_sentence"):
        from official.modeling import tf_utils

        heads = [garden.layers.ClassificationHead(16, 2, name=head)]
        model = garden.models.BertPretrainerV2(
            make_encoder(),
            mlm_activation=tf_utils.get_activation("gelu"),
            classification_heads=heads if head else [],
        )
        model(model.inputs)
        return _randomized(model)

    return make


def _randomized(model):
    rng = np.random.default_rng(8)
    for weight in model.weights:
        weight.assign_add(0.3 * rng.normal(size=weight.shape))
    return model


@pytest.fixture
def write(tmp_path, vocabulary):
    """Writes a folder with a checkpoint of the given objects."""

    def write(config=FIELDS, **objects):
        tf.train.Checkpoint(**objects).save(str(tmp_path / "model.ckpt"))
        (tmp_path / "bert_config.json").write_text(json.dumps(config))
        lines = "".join(f"{token}\n" for token in vocabulary.tokens)
        (tmp_path / "vocab.txt").write_text(lines)
        return tmp_path

    return write


def _load(path, lower_case=True):
    lines = []
    report = lines.append
    return model_garden.load(path, lower_case=lower_case, report=report), lines


def _theirs(model, inputs):
    given = {
        "input_word_ids": inputs["token_ids"],
        "input_mask": inputs["padding_mask"],
        "input_type_ids": inputs["segment_ids"],
    }
    if hasattr(model, "masked_lm"):
        given["masked_lm_positions"] = inputs["mask_positions"]
    got = model(given)
    if not isinstance(got, dict):
        got = dict(zip(("sequence_output", "pooled_output"), got, strict=True))
    return got


@pytest.mark.parametrize("name", ["BertEncoder", "BertEncoderV2"])
def test_an_encoders_outputs(
    name, make_encoder, write, random_inputs, outputs, difference
):
    encoder = make_encoder(name)
    loaded, lines = _load(write(encoder=encoder), False)
    assert loaded.spec.task == "encoder"
    assert not loaded.vocabulary.lower_case
    assert lines == [f"{len(encoder.weights)} tensors read."]
    inputs = random_inputs(loaded.config)
    want, got = _theirs(encoder, inputs), outputs(loaded, inputs)
    real = inputs["padding_mask"].astype(bool)
    sequence = want["sequence_output"].numpy()[real]
    assert difference(got["sequence"], sequence) <= 1e-5
    assert difference(got["pooled"], want["pooled_output"].numpy()) <= 1e-5


def test_a_pretrainers_outputs_from_a_training_run(
    make_pretrainer, write, random_inputs, outputs, difference
):
    import tf_keras

    model = make_pretrainer()
    optimizer = tf_keras.optimizers.legacy.Adam()
    optimizer.apply_gradients([(0.1 * w, w) for w in model.trainable_weights])
    path = write(model=model, optimizer=optimizer, global_step=tf.Variable(3))
    loaded, lines = _load(path)
    assert loaded.spec.task == "pretraining"
    inputs = random_inputs(loaded.config)
    want, got = _theirs(model, inputs), outputs(loaded, inputs)
    real = inputs["padding_mask"].astype(bool)
    sequence = want["sequence_output"].numpy()[real]
    assert difference(got["sequence"], sequence) <= 1e-5
    assert difference(got["mlm_logits"], want["mlm_logits"].numpy()) <= 1e-5
    nsp = want["next_sentence"].numpy()
    assert difference(got["nsp_logits"], nsp) <= 1e-5
    pooler = "model/encoder_network/layer_with_weights-6"
    slots = 2 * len(model.trainable_weights) + 5  # iter, 3 rates, step
    assert lines == [
        "The pooler is that of the next_sentence head, not the encoder's.",
        f"{len(model.weights) - 2} tensors read.",
        f"2 tensors left out: {pooler}/bias, {pooler}/kernel.",
        f"{slots + 1} tensors of the optimizer left out.",
    ]


def test_what_model_gardens_archives_hold(
    make_pretrainer, write, random_inputs, outputs, difference
):
    model = make_pretrainer()
    loaded, lines = _load(write(**model.checkpoint_items))
    assert loaded.spec.task == "pretraining"
    assert lines[1] == ("No tensors for nsp: it is newly initialized.")
    inputs = random_inputs(loaded.config)
    want, got = _theirs(model, inputs), outputs(loaded, inputs)
    assert difference(got["mlm_logits"], want["mlm_logits"].numpy()) <= 1e-5
    head = model.classification_heads[0]
    pooled = head(want["sequence_output"], only_project=True).numpy()
    assert difference(got["pooled"], pooled) <= 1e-5


@pytest.mark.parametrize("head", ["", "sentiment"])
def test_without_a_next_sentence_head(head, make_pretrainer, write):
    loaded, lines = _load(write(model=make_pretrainer(head)))
    assert loaded.spec.task == "masked_lm"
    left = [lines[1].count("layer_with_weights-6"), lines[1].count("_heads/0")]
    assert left == [2, 4 if head else 0]  # the encoder's own pooler


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_hidden_layers", 1, "num_hidden_layers is 2, but bert_config"),
        ("num_hidden_layers", 3, "num_hidden_layers is 2, but bert_config"),
        ("num_attention_heads", 2, "num_attention_heads is 4, but bert_conf"),
        ("type_vocab_size", 2, r"embeddings \(3, 16\) cannot fill embedd"),
        ("max_position_embeddings", 2**17, "weights; the encoder of the conf"),
    ],
)
def test_a_config_that_does_not_fit(field, value, message, make_encoder, write):
    path = write({**FIELDS, field: value}, model=make_encoder("BertEncoderV2"))
    with pytest.raises(ValueError, match=rf"model\.ckpt-1: .*{message}"):
        _load(path)


def test_checkpoints_of_something_else(garden, make_encoder, write):
    path = write(encoder=tf.Module())
    with pytest.raises(ValueError, match="0 encoders, 0 masked-LM and 0 next"):
        _load(path / "model.ckpt-1")
    narrow = make_encoder(embedding_width=8)
    with pytest.raises(ValueError, match="0 encoders, 0 masked-LM and 0 next"):
        _load(write(encoder=narrow) / "model.ckpt-1")
    write(one=make_encoder(), two=make_encoder())
    with pytest.raises(ValueError, match="2 encoders, 0 masked-LM and 0 next"):
        _load(path / "model.ckpt-1")
    with pytest.raises(ValueError, match="use --from=model_garden"):
        google.load(path / "model.ckpt-1", lower_case=True, report=print)
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable("bert/pooler/dense/bias", initializer=np.ones(3))
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(path / "model.ckpt-1"))
    with pytest.raises(ValueError, match="use --from=google"):
        _load(path / "model.ckpt-1")


def test_missing_variables_are_named_by_their_path(make_encoder, write):
    encoder = make_encoder("BertEncoderV2")
    layers = {n: getattr(encoder, n) for n in model_garden._TABLES}
    layers["_transformer_layers"] = encoder._transformer_layers
    module = tf.Module()
    for name, layer in layers.items():
        setattr(module, name, layer)
    message = "missing: deep/_pooler_layer/bias, deep/_pooler_layer/kernel"
    with pytest.raises(ValueError, match=message):
        _load(write(deep=module))


def test_what_has_to_be_next_to_it(make_encoder, write):
    path = write(encoder=make_encoder())
    with pytest.raises(ValueError, match="Give --lower_case=true"):
        _load(path, None)
    (path / "bert_config.json").unlink()
    with pytest.raises(ValueError, match="no bert_config.json; needs"):
        _load(path)


def test_a_damaged_object_graph(make_encoder, write, monkeypatch):
    """Checksums find flipped bits; this one was written so."""
    path = write(encoder=make_encoder())
    whole = model_garden.Checkpoint.read
    for damage in (b"\x0a\xff", b"\x0a\x04\x0a\x02\x08\x7f", b""):

        def read(self, name, damage=damage):
            if name == model_garden.OBJECT_GRAPH:
                return np.array(damage, object)
            return whole(self, name)

        monkeypatch.setattr(model_garden.Checkpoint, "read", read)
        with pytest.raises(ValueError, match="damaged|0 encoders"):
            _load(path)


def _damage(path, seeds):
    """Each damaged copy of a checkpoint is refused, or equal to it."""
    want = _load(path)[0].model.get_weights()
    refused = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        name = rng.choice(["index", "data-00000-of-00001"])
        file = path / f"model.ckpt-1.{name}"
        whole = file.read_bytes()
        data = bytearray(whole)
        at = rng.integers(len(data))
        if rng.random() < 0.5:
            data[at] ^= 1 << rng.integers(8)
        else:
            del data[at:]
        file.write_bytes(data)
        try:
            got = _load(path)[0].model.get_weights()
        except ValueError as error:
            assert f"{path}" in str(error), seed
            refused += 1
        else:
            for one, other in zip(got, want, strict=True):
                np.testing.assert_array_equal(one, other, f"seed {seed}")
        file.write_bytes(whole)
    return refused


def test_damaged_files(make_encoder, write):
    assert _damage(write(encoder=make_encoder()), range(8)) >= 6


@pytest.mark.slow
def test_many_damaged_files(make_encoder, write):
    assert _damage(write(encoder=make_encoder()), range(100, 400)) >= 200
