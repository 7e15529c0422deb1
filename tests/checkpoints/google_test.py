# SPDX-License-Identifier: Apache-2.0
"""The import of published checkpoints against Model Garden's own."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from kbert.checkpoints import google
from kbert.tasks.predictor import make_predictor

V, H, F, S, N = 15, 16, 28, 24, 4  # tokens, widths, positions, heads

FIELDS = {
    "attention_probs_dropout_prob": 0.2,
    "directionality": "bidi",
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.15,
    "hidden_size": H,
    "initializer_range": 0.03,
    "intermediate_size": F,
    "max_position_embeddings": S,
    "num_attention_heads": N,
    "num_hidden_layers": 2,
    "pooler_fc_size": 768,
    "pooler_type": "first_token_transform",
    "type_vocab_size": 2,
    "vocab_size": V,
}
HEADS = {
    "cls/predictions/transform/dense/kernel": (H, H),
    "cls/predictions/transform/dense/bias": (H,),
    "cls/predictions/transform/LayerNorm/gamma": (H,),
    "cls/predictions/transform/LayerNorm/beta": (H,),
    "cls/predictions/output_bias": (V,),
    "cls/seq_relationship/output_weights": (2, H),
    "cls/seq_relationship/output_bias": (2,),
}


def _shapes(num_layers):
    """The published names of the encoder's variables."""
    shapes = {
        "bert/embeddings/word_embeddings": (V, H),
        "bert/embeddings/token_type_embeddings": (2, H),
        "bert/embeddings/position_embeddings": (S, H),
        "bert/embeddings/LayerNorm/gamma": (H,),
        "bert/embeddings/LayerNorm/beta": (H,),
        "bert/pooler/dense/kernel": (H, H),
        "bert/pooler/dense/bias": (H,),
    }
    dense = {
        "attention/self/query": (H, H),
        "attention/self/key": (H, H),
        "attention/self/value": (H, H),
        "attention/output/dense": (H, H),
        "intermediate/dense": (H, F),
        "output/dense": (F, H),
    }
    for index in range(num_layers):
        scope = f"bert/encoder/layer_{index}"
        for name, shape in dense.items():
            shapes[f"{scope}/{name}/kernel"] = shape
            shapes[f"{scope}/{name}/bias"] = shape[1:]
        for norm in ("attention/output/LayerNorm", "output/LayerNorm"):
            shapes[f"{scope}/{norm}/gamma"] = (H,)
            shapes[f"{scope}/{norm}/beta"] = (H,)
    return shapes


def _random(shapes):
    """No weight is 0 or 1, as biases and norms begin."""
    rng = np.random.default_rng(5)
    return {
        name: rng.normal(name.endswith("gamma"), 0.5, shape).astype("float32")
        for name, shape in shapes.items()
    }


@pytest.fixture
def write(tmp_path, vocabulary):
    """Writes a folder as published, with variables of TensorFlow 1."""

    def write(tensors, name="bert_model.ckpt", **fields):
        v1 = tf.compat.v1
        with tf.Graph().as_default(), v1.Session() as session:
            for variable, value in tensors.items():
                v1.get_variable(variable, initializer=value)
            session.run(v1.global_variables_initializer())
            v1.train.Saver().save(
                session,
                str(tmp_path / name),
                write_meta_graph=False,
                latest_filename="latest",
            )
        config = {k: v for k, v in {**FIELDS, **fields}.items() if v != ""}
        (tmp_path / "bert_config.json").write_text(json.dumps(config))
        lines = "".join(f"{token}\n" for token in vocabulary.tokens)
        (tmp_path / "vocab.txt").write_text(lines)
        return tmp_path

    return write


@pytest.fixture
def published(write):
    return write(_random({**_shapes(2), **HEADS}))


def _load(path, lower_case=True):
    lines = []
    return google.load(path, lower_case=lower_case, report=lines.append), lines


def _model_gardens(path, inputs, activation):
    """Outputs of its encoder and masked-LM head, after its converter."""
    tf_utils = pytest.importorskip("official.modeling.tf_utils")
    from official.nlp.modeling import models, networks
    from official.nlp.tools import tf1_bert_checkpoint_converter_lib as lib

    lib.convert(
        checkpoint_from_path=str(path / "bert_model.ckpt"),
        checkpoint_to_path=str(path / "renamed" / "ckpt"),
        num_heads=N,
        name_replacements=lib.BERT_V2_NAME_REPLACEMENTS,
        permutations=lib.BERT_V2_PERMUTATIONS,
        exclude_patterns=["adam"],
    )
    activation = tf_utils.get_activation(activation)
    encoder = networks.BertEncoder(
        vocab_size=V,
        hidden_size=H,
        num_layers=2,
        num_attention_heads=N,
        intermediate_size=F,
        activation=activation,
        max_sequence_length=S,
        type_vocab_size=2,
    )
    model = models.BertPretrainerV2(encoder, mlm_activation=activation)
    model(model.inputs)
    status = model.load_weights(str(path / "renamed" / "ckpt"))
    status.assert_existing_objects_matched()
    return model(
        {
            "input_word_ids": inputs["token_ids"],
            "input_mask": inputs["padding_mask"],
            "input_type_ids": inputs["segment_ids"],
            "masked_lm_positions": inputs["mask_positions"],
        }
    )


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_outputs_are_model_gardens(
    activation, write, random_inputs, outputs, difference
):
    tensors = _random({**_shapes(2), **HEADS})
    path = write(tensors, hidden_act=activation)
    loaded, lines = _load(path)
    assert loaded.spec.task == "pretraining"
    assert loaded.config.hidden_act == activation
    assert loaded.config.attention_probs_dropout_prob == 0.2
    assert lines == [
        "bert_config.json: not used: pooler_fc_size.",
        f"{len(tensors)} tensors read.",
    ]
    inputs = random_inputs(loaded.config)
    want = _model_gardens(path, inputs, activation)
    got = outputs(loaded, inputs)
    real = inputs["padding_mask"].astype(bool)
    pooled = want["pooled_output"].numpy()
    # As run_pretraining.py computes it.
    nsp = pooled @ tensors["cls/seq_relationship/output_weights"].T
    nsp += tensors["cls/seq_relationship/output_bias"]
    sequence = want["sequence_output"].numpy()[real]
    assert difference(got["sequence"], sequence) <= 1e-5
    assert difference(got["pooled"], pooled) <= 1e-5
    assert difference(got["mlm_logits"], want["mlm_logits"].numpy()) <= 1e-5
    assert difference(got["nsp_logits"], nsp) <= 1e-5


@pytest.mark.parametrize(
    ("head", "task", "left"),
    [
        ("cls/predictions", "masked_lm", 2),  # the pooler
        ("cls/seq_relationship", "next_sentence", 0),
        ("no", "encoder", 0),
    ],
)
def test_the_heads_tell_the_task(head, task, left, write):
    heads = {n: HEADS[n] for n in HEADS if n.startswith(head)}
    loaded, lines = _load(write(_random({**_shapes(2), **heads})), False)
    assert (loaded.spec.task, loaded.vocabulary.lower_case) == (task, False)
    total = len(_shapes(2)) + len(heads)
    assert lines[1] == f"{total - left} tensors read."
    pooler = "bert/pooler/dense/bias, bert/pooler/dense/kernel"
    assert lines[2:] == [f"2 tensors left out: {pooler}."][: left // 2]


def test_what_else_a_training_run_leaves_is_named(write):
    shapes = _shapes(2)
    slots = {f"{name}/adam_m": shape for name, shape in shapes.items()}
    slots |= {f"{name}/adam_v": shape for name, shape in shapes.items()}
    head = {"output_weights": (3, H), "output_bias": (3,)}
    tensors = _random({**shapes, **slots, **head})
    path = write({**tensors, "global_step": np.int64(7)}, "model.ckpt-7")
    (path / "LICENSE").write_text("Apache License")
    loaded, lines = _load(path / "model.ckpt-7")
    assert loaded.spec.task == "encoder"
    assert loaded.licences == {"LICENSE": b"Apache License"}
    count = 2 * len(shapes) + 1
    assert lines[1:] == [
        f"{len(shapes)} tensors read.",
        "2 tensors left out: output_bias, output_weights.",
        f"{count} tensors of the optimizer left out: adam_m, adam_v, "
        "global_step.",
    ]


def test_other_optimizers_slots_are_counted(write):
    shapes = _shapes(2)
    slots = {
        f"{name}/{slot}": shape
        for name, shape in shapes.items()
        for slot in ("Adam", "Adam_1", "ExponentialMovingAverage")
    }
    powers = {name: np.float32(0.9) for name in ("beta1_power", "beta2_power")}
    _, lines = _load(write({**_random({**shapes, **slots}), **powers}))
    assert lines[1:] == [
        f"{len(shapes)} tensors read.",
        f"{3 * len(shapes) + 2} tensors of the optimizer left out: Adam, "
        "Adam_1, ExponentialMovingAverage, beta1_power, beta2_power.",
    ]


def test_a_prefix_before_all_names_is_left_out(write, published):
    plain, _ = _load(published)
    tensors = _random({**_shapes(2), **HEADS})
    named = {f"model/{name}": value for name, value in tensors.items()}
    loaded, lines = _load(write({**named, "global_step": np.int64(7)}))
    assert lines[1] == "All names start with model/, which is removed."
    assert loaded.spec == plain.spec
    for ours, theirs in zip(
        loaded.model.weights, plain.model.weights, strict=True
    ):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_tensors_that_the_files_do_not_hold(published):
    data = published / "bert_model.ckpt.data-00000-of-00001"
    os.truncate(data, 100)
    message = r"bert_model\.ckpt: tensors of \S+ bytes in files of 100"
    with pytest.raises(ValueError, match=message):
        _load(published)


@pytest.mark.parametrize("end", ["index", "data-00000-of-00001"])
def test_a_pipe_instead_of_a_file(end, published):
    file = published / f"bert_model.ckpt.{end}"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ValueError, match=f"ckpt.{end}: a FIFO"):
        _load(published)


def test_a_git_lfs_pointer_instead_of_a_file(published):
    path = published
    for file in sorted(path.iterdir()):
        if file.name == "latest":  # which TensorFlow alone reads
            continue
        whole = file.read_bytes()
        file.write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
        message = f"{file.name}: is a Git LFS pointer, .*run git lfs pull"
        with pytest.raises(ValueError, match=message):
            _load(path)
        file.write_bytes(whole)


def test_segments_are_16_where_the_config_leaves_them_out(write):
    shapes = {**_shapes(2), "bert/embeddings/token_type_embeddings": (16, H)}
    loaded, _ = _load(write(_random(shapes), type_vocab_size=""))
    assert loaded.config.type_vocab_size == 16


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_act": "tanh"}, "hidden_act is 'tanh'; needs one of"),
        ({"hidden_act": None}, "hidden_act is None; needs one of"),
        ({"directionality": "left"}, "directionality is 'left'; needs 'bidi'"),
        ({"embedding_size": 8}, "embedding_size is 8; needs 16"),
        ({"vocab_size": ""}, "vocab_size is missing"),
        ({"num_attention_heads": 5}, "num_attention_heads 5 does not divide"),
        ({"num_hidden_layers": -2}, "num_hidden_layers is -2"),
    ],
)
def test_configs_that_kbert_cannot_compute(fields, message, write):
    path = write(_random(_shapes(1)), **fields)
    with pytest.raises(ValueError, match=rf"bert_config\.json: {message}"):
        _load(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_hidden_layers": 1}, "has bert/encoder/layer_1, but bert_conf"),
        ({"num_hidden_layers": 3}, "missing: bert/encoder/layer_2/attention"),
        ({"vocab_size": 16}, r"word_embeddings \(15, 16\) cannot fill token_e"),
        ({"intermediate_size": 29}, r"intermediate/dense/kernel \(16, 28\)"),
        # Of any size: no memory is asked for.
        ({"max_position_embeddings": 2**17}, "weights; the encoder of the"),
        ({"num_hidden_layers": 256}, "weights; the encoder of the config"),
    ],
)
def test_a_config_that_does_not_fit_the_tensors(fields, message, write):
    path = write(_random(_shapes(2)), **fields)
    with pytest.raises(ValueError, match=rf"bert_model\.ckpt: .*{message}"):
        _load(path)


def test_values_that_are_not_finite(write):
    tensors = _random(_shapes(2))
    tensors["bert/pooler/dense/bias"][3] = np.inf
    with pytest.raises(ValueError, match="pooler/dense/bias has 1 values that"):
        _load(write(tensors))


@pytest.mark.slow
def test_commands_read_it_as_it_is(published, call, tmp_path, capsys):
    """Of a checkpoint's path too; no file says the casing."""
    model = f"--model={published}/bert_model.ckpt"
    with pytest.raises(
        ValueError, match="vocab.txt: .* Give --lower_case=true"
    ):
        call("predict", model, "--text=the [MASK]")
    capsys.readouterr()
    said = call("predict", model, "--text=THE [MASK]", "--lower_case")
    loaded, _ = _load(published)
    server = make_predictor(
        loaded.model, vocabulary=loaded.vocabulary, spec=loaded.spec
    )
    [want] = server.predict(["the [MASK]"])
    [got], [want] = json.loads(said)["masks"], want["masks"]
    assert got == pytest.approx(want)
    # A copy is made of it in the same way.
    output = tmp_path / "kbert"
    said = call(
        "convert", f"--input={published}", f"--output={output}", "--lower_case"
    )
    assert said.startswith(f"{published}: TensorFlow 1 checkpoint\n")
    assert said.endswith(f"{output}: a kbert model for the task pretraining\n")


def test_other_architectures(write):
    shapes = {"electra/embeddings/word_embeddings": (V, H)}
    message = "no bert/embeddings/word_embeddings; needs .* It has 1 tensors"
    with pytest.raises(ValueError, match=message):
        _load(write(_random(shapes)))


def test_what_has_to_be_there(published, vocabulary, tmp_path):
    with pytest.raises(ValueError, match="Give --lower_case=true"):
        _load(published, None)
    with pytest.raises(ValueError, match="no such folder, and no bert.index"):
        _load(published / "bert")
    with pytest.raises(ValueError, match=r"no file \*\.index; needs"):
        (tmp_path / "empty").mkdir()
        _load(tmp_path / "empty")
    index = published / "bert_model.ckpt.index"
    other = published / "other.ckpt.index"
    other.write_bytes(index.read_bytes())
    with pytest.raises(ValueError, match="2 checkpoints: bert_model.ckpt.ind"):
        _load(published)
    other.unlink()
    (published / "vocab.txt").write_text("\n".join([*vocabulary.tokens, "x"]))
    with pytest.raises(ValueError, match="16 tokens, but the token table has"):
        _load(published)
    (published / "vocab.txt").unlink()
    with pytest.raises(ValueError, match="no vocab.txt; needs bert_config"):
        _load(published)


def _damage(path, seeds):
    """Each damaged copy of a checkpoint is refused, or equal to it."""
    loaded, _ = _load(path)
    want = loaded.model.get_weights()
    refused = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        name = rng.choice(["index", "data-00000-of-00001"])
        file = path / f"bert_model.ckpt.{name}"
        whole = file.read_bytes()
        data = bytearray(whole)
        at = rng.integers(len(data))
        if rng.random() < 0.5:
            # The end says where the rest is.
            at = rng.choice([at, len(data) - 1 - rng.integers(48)])
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


def test_damaged_files(published):
    assert _damage(published, range(16)) >= 12


@pytest.mark.slow
def test_many_damaged_files(published):
    assert _damage(published, range(100, 500)) >= 300
