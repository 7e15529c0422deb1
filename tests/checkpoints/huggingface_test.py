# SPDX-License-Identifier: Apache-2.0
"""Hugging Face's BERTs, in and out, against PyTorch's own outputs."""

import dataclasses
import json
import resource

import numpy as np
import pytest
import tensorflow as tf

from kbert import tasks
from kbert.checkpoints import folder, huggingface
from kbert.checkpoints.folder import LoadedModel
from kbert.config import BertConfig
from kbert.tasks import TaskSpec
from kbert.text.tokenizer import Tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors_torch = pytest.importorskip("safetensors.torch")

SMALL = {
    "vocab_size": 15,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-5,
    "hidden_act": "gelu",
}
LABELS = ("schön", "so-so", "bad")
TASKS = {
    "encoder": "BertModel",
    "pretraining": "BertForPreTraining",
    "masked_lm": "BertForMaskedLM",
    "next_sentence": "BertForNextSentencePrediction",
    "classification": "BertForSequenceClassification",
}
# kbert's outputs -> their names in PyTorch's, by the number of its outputs.
OUTPUTS = {
    "sequence": "last_hidden_state",
    "pooled": "pooler_output",
    "mlm_logits": "prediction_logits",
    "nsp_logits": "seq_relationship_logits",
    "logits": "logits",
}


def _torch_model(architecture="BertModel", **fields):
    """A model whose weights are neither 0 nor 1, as biases and norms begin."""
    fields = {"id2label": dict(enumerate(LABELS)), **SMALL, **fields}
    config = transformers.BertConfig(**fields)
    model = getattr(transformers, architecture)(config)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def _save(path, torch_model, vocabulary, **options):
    torch_model.save_pretrained(path, **options)
    text = "".join(f"{token}\n" for token in vocabulary.tokens)
    (path / "vocab.txt").write_text(text, "utf-8")
    fields = {"do_lower_case": True}
    (path / "tokenizer_config.json").write_text(json.dumps(fields), "utf-8")
    return path


@pytest.fixture
def small(tmp_path, vocabulary):
    """A folder of a small BertModel, and the model."""
    model = _torch_model()
    return _save(tmp_path / "hf", model, vocabulary), model


def _load(path):
    lines = []
    return huggingface.load(path, report=lines.append), lines


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
        "mask_positions": rng.integers(0, lengths[:, None], (7, 5)),
    }


def _difference(model, torch_model):
    """The largest of all outputs, relative to each output's largest value.

    Of "sequence" at real tokens, of "mlm_logits" at the masked ones.
    """
    inputs = _random_inputs(torch_model.config)
    names = {
        "input_ids": "token_ids",
        "token_type_ids": "segment_ids",
        "attention_mask": "padding_mask",
    }
    with torch.no_grad():
        theirs = torch_model.double()(
            **{n: torch.tensor(inputs[ours]) for n, ours in names.items()}
        )
    got = model({n: inputs[n].astype("int32") for n in model.input})
    differences = []
    for name, output in got.items():
        their_name = OUTPUTS[name] if len(theirs) > 1 else "logits"
        want, output = theirs[their_name].numpy(), output.numpy()
        if name == "mlm_logits":
            want = want[np.arange(7)[:, None], inputs["mask_positions"]]
        if name == "sequence":
            real = inputs["padding_mask"].astype(bool)
            want, output = want[real], output[real]
        assert output.shape == want.shape, name
        differences.append(np.abs(output - want).max() / np.abs(want).max())
    return max(differences)


@pytest.mark.parametrize("task", TASKS)
def test_outputs_are_pytorchs(task, tmp_path, vocabulary):
    torch_model = _torch_model(TASKS[task])
    loaded, lines = _load(_save(tmp_path, torch_model, vocabulary))
    assert loaded.spec == TaskSpec(
        task=task,
        max_seq_length=20,
        labels=LABELS if task == "classification" else (),
        num_texts=2 if task in ("pretraining", "next_sentence") else 1,
    )
    assert (
        set(loaded.model.output)
        == {
            "encoder": {"sequence", "pooled"},
            "pretraining": {"mlm_logits", "nsp_logits"},
            "masked_lm": {"mlm_logits"},
            "next_sentence": {"nsp_logits"},
            "classification": {"logits"},
        }[task]
    )
    assert loaded.vocabulary == vocabulary
    assert (loaded.config.type_vocab_size, loaded.config.lower_case) == (3, 1)
    assert loaded.config.layer_norm_epsilon == 1e-5
    assert lines == [f"{len(list(torch_model.parameters()))} tensors read."]
    assert _difference(loaded.model, torch_model) <= 1e-5


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("gelu_new", "gelu"), ("gelu_pytorch_tanh", "gelu"), ("relu", "relu")],
)
def test_activations(theirs, ours, tmp_path, vocabulary):
    torch_model = _torch_model("BertForMaskedLM", hidden_act=theirs)
    loaded, _ = _load(_save(tmp_path, torch_model, vocabulary))
    assert loaded.config.hidden_act == ours
    assert _difference(loaded.model, torch_model) <= 1e-5


def _rewrite(path, change):
    """Changes the tensors that a folder holds: change(dict)."""
    file = path / "model.safetensors"
    tensors = safetensors_torch.load_file(file)
    change(tensors)
    safetensors_torch.save_file(tensors, file, {"format": "pt"})


def _change_config(path, **fields):
    file = path / "config.json"
    fields = {**json.loads(file.read_text()), **fields}
    file.write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [("BertModel", "module."), ("BertForPreTraining", "model.")],
)
def test_a_prefix_before_all_names_is_left_out(
    kind, prefix, tmp_path, vocabulary
):
    torch_model = _torch_model(kind)
    path = _save(tmp_path, torch_model, vocabulary)

    def rename(tensors):
        for name in list(tensors):
            tensors[prefix + name] = tensors.pop(name)

    _rewrite(path, rename)
    loaded, lines = _load(path)
    assert f"All names start with {prefix}, which is removed." in lines
    assert _difference(loaded.model, torch_model) <= 1e-5


def test_a_table_that_is_missing_is_not_made(small, monkeypatch):
    path, _ = small
    monkeypatch.setattr(huggingface.tasks, "build", None)
    name = "embeddings.position_embeddings.weight"
    _rewrite(path, lambda tensors: tensors.pop(name))
    _change_config(path, max_position_embeddings=2**17)
    message = rf"model\.safetensors: tensors missing: {name}"
    with pytest.raises(ValueError, match=message):
        _load(path)


def test_an_untied_output_matrix(tmp_path, vocabulary):
    torch_model = _torch_model("BertForPreTraining", tie_word_embeddings=False)
    loaded, lines = _load(_save(tmp_path, torch_model, vocabulary))
    assert not loaded.config.tie_word_embeddings
    assert _difference(loaded.model, torch_model) <= 1e-5
    # PyTorch has two biases then, and uses the decoder's.
    assert lines[1] == "1 tensors left out: cls.predictions.bias."


def test_tied_tensors_that_stand_there_twice(tmp_path, vocabulary):
    torch_model = _torch_model("BertForMaskedLM")
    path = _save(tmp_path, torch_model, vocabulary)

    def double(tensors):
        for copy, name in {
            "decoder.weight": "bert.embeddings.word_embeddings.weight",
            "decoder.bias": "cls.predictions.bias",
        }.items():
            tensors[f"cls.predictions.{copy}"] = tensors[name].clone()

    _rewrite(path, double)
    loaded, lines = _load(path)
    assert len(lines) == 1
    assert _difference(loaded.model, torch_model) <= 1e-5

    def spoil(tensors):
        tensors["cls.predictions.decoder.weight"][3] += 1e-3

    _rewrite(path, spoil)
    message = "decoder.weight differs from bert.embeddings.word_embeddings.w"
    with pytest.raises(ValueError, match=message):
        huggingface.load(path)


def test_a_model_that_states_one_head_and_has_both(tmp_path, vocabulary):
    """As bert-base-uncased does."""
    torch_model = _torch_model("BertForPreTraining")
    path = _save(tmp_path, torch_model, vocabulary)
    for stated in (["BertForMaskedLM"], None):
        _change_config(path, architectures=stated)
        assert _load(path)[0].spec.task == "pretraining"
    _rewrite(path, lambda tensors: tensors.pop("cls.seq_relationship.bias"))
    with pytest.raises(ValueError, match="missing: cls.seq_relationship.bias"):
        huggingface.load(path)


def test_of_another_head_the_encoder_is_read(tmp_path, vocabulary):
    torch_model = _torch_model("BertForSequenceClassification")
    path = _save(tmp_path, torch_model, vocabulary)
    _change_config(path, architectures=["BertForTokenizing"])
    loaded, lines = _load(path)
    assert loaded.spec.task == "encoder"
    assert lines[0] == (
        "BertForTokenizing: not supported yet: read as encoder, without any "
        "other head."
    )
    named = "classifier.bias, classifier.weight"
    assert f"tensors left out: {named}" in lines[-1]
    assert _difference(loaded.model, torch_model.bert) <= 1e-5


def test_a_masked_lm_of_another_name_keeps_its_head(tmp_path, vocabulary):
    path = _save(tmp_path, _torch_model("BertForMaskedLM"), vocabulary)
    config = json.loads((path / "config.json").read_text())
    config["architectures"] = ["BertLMHeadModel"]
    (path / "config.json").write_text(json.dumps(config))
    loaded, lines = _load(path)
    assert loaded.spec.task == "masked_lm"
    assert "BertLMHeadModel: not supported yet: read as masked_lm" in lines[0]


def test_old_names_half_precision_and_licences(small):
    path, torch_model = small

    def change(tensors):
        for name in list(tensors):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            old = old.replace("LayerNorm.bias", "LayerNorm.beta")
            tensors["bert." + old] = tensors.pop(name).half()
        tensors["bert.embeddings.position_ids"] = torch.arange(20)[None]
        tensors["classifier.weight"] = torch.ones(2, 24)

    _rewrite(path, change)
    (path / "LICENSE.txt").write_bytes(b"as you like\r\n")
    loaded, lines = _load(path)
    assert lines[1:] == ["1 tensors left out: classifier.weight."]
    assert loaded.licences == {"LICENSE.txt": b"as you like\r\n"}
    torch_model.half()  # rounds its weights as the file's are
    assert _difference(loaded.model, torch_model) <= 1e-5


def test_bfloat16(small):
    path, torch_model = small
    torch_model.bfloat16().save_pretrained(path)
    assert _difference(_load(path)[0].model, torch_model) <= 1e-5


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_of_tensors_with_any_strides(zipped, small):
    path, torch_model = small
    (path / "model.safetensors").unlink()
    state = {
        name: tensor.t().contiguous().t() if tensor.ndim == 2 else tensor
        for name, tensor in torch_model.state_dict().items()
    }
    torch.save(
        state,
        path / "pytorch_model.bin",
        _use_new_zipfile_serialization=zipped,
    )
    assert _difference(_load(path)[0].model, torch_model) <= 1e-5


def test_shards(tmp_path, vocabulary):
    torch_model = _torch_model()
    path = _save(tmp_path, torch_model, vocabulary, max_shard_size="10KB")
    assert len(list(path.glob("*.safetensors"))) > 2
    loaded, lines = _load(path)
    assert _difference(loaded.model, torch_model) <= 1e-5
    index = path / "model.safetensors.index.json"
    text = index.read_text()
    for wrong, message in {
        "../model": r"pooler.dense.bias is in '../model-.*; needs the name",
        "model-x": "No such file or directory: .*model-x-0000",
    }.items():
        fields = json.loads(text)
        files = fields["weight_map"]
        name = files["pooler.dense.bias"]
        files["pooler.dense.bias"] = name.replace("model", wrong, 1)
        index.write_text(json.dumps(fields))
        with pytest.raises((ValueError, OSError), match=message):
            huggingface.load(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model_type", "roberta", "model_type is 'roberta'; needs 'bert'"),
        (
            "position_embedding_type",
            "relative_key",
            "position_embedding_type is 'relative_key'; needs 'absolute'",
        ),
        ("is_decoder", True, "is_decoder is True; needs False"),
        ("add_cross_attention", True, "add_cross_attention is True; needs"),
        ("pruned_heads", {"1": [0]}, "pruned_heads is {'1': "),
        ("hidden_act", "silu", "hidden_act is 'silu'; needs one of"),
        ("hidden_act", None, "hidden_act is None; needs one of"),
        ("num_attention_heads", 5, "num_attention_heads 5 does not divide"),
        ("hidden_size", "24", 'hidden_size is "24"; needs a wh'),
        ("architectures", "BertModel", "architectures is 'BertModel'; need"),
    ],
)
def test_configs_that_kbert_cannot_compute(field, value, message, small):
    path, _ = small
    _change_config(path, **{field: value})
    with pytest.raises(ValueError, match=rf"config\.json: {message}"):
        huggingface.load(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_hidden_layers": 1}, "2 layers; .* num_hidden_layers 1"),
        ({"vocab_size": 16}, r"word_emb.* \(15, 24\); .* needs \(16, 24\)"),
        (
            {"intermediate_size": 2**20},
            r"layer\.0\.intermediate\.dense\.weight has the shape \(40, 24\)",
        ),
        (
            {"max_position_embeddings": 2**17},
            r"position_embeddings\.weight has the shape \(20, 24\)",
        ),
    ],
)
def test_a_config_of_other_weights(fields, message, small):
    path, _ = small
    _change_config(path, **fields)
    with pytest.raises(ValueError, match=rf"model\.safetensors: .*{message}"):
        huggingface.load(path)


def test_an_adapter_next_to_the_weights(small):
    path, _ = small
    (path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(ValueError, match=r"adapter_config\.json: an adapter"):
        huggingface.load(path)


def test_tensors_that_do_not_belong(small):
    path, _ = small
    name = "encoder.layer.1.crossattention.self.query.weight"
    _rewrite(path, lambda tensors: tensors.update({name: torch.ones(2)}))
    message = f"tensors that no BERT encoder has: {name}"
    with pytest.raises(ValueError, match=message):
        huggingface.load(path)


def test_a_pooler_that_is_missing_whole_or_half(small):
    path, _ = small
    _rewrite(path, lambda tensors: tensors.pop("pooler.dense.bias"))
    with pytest.raises(ValueError, match=r"missing: pooler\.dense\.bias\."):
        huggingface.load(path)
    _rewrite(path, lambda tensors: tensors.pop("pooler.dense.weight"))
    line = "No tensors for pooler: it is newly initialized."
    assert _load(path)[1][0] == line


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.arange(24), r"pooler\.dense\.bias is of type I64; needs"),
        (
            torch.zeros(24).to(torch.float8_e4m3fn),
            r"pooler\.dense\.bias is of type F8_E4M3; needs",
        ),
        (torch.ones(24, 24), r"pooler\.dense\.bias \(24, 24\) cannot fill po"),
        (torch.ones(()), r"pooler\.dense\.bias \(\) cannot fill pooler/bias"),
        (
            torch.tensor([torch.nan, torch.inf] * 12),
            r"pooler\.dense\.bias has 24 values that are not finite",
        ),
    ],
)
def test_a_tensor_that_is_not_as_it_should_be(value, message, small):
    path, _ = small
    _rewrite(path, lambda tensors: tensors.update({"pooler.dense.bias": value}))
    with pytest.raises(ValueError, match=rf"model\.safetensors: {message}"):
        huggingface.load(path)


def test_folders_of_other_architectures(tmp_path, vocabulary):
    for name in ("Roberta", "DistilBert"):
        config = getattr(transformers, f"{name}Config")(
            vocab_size=15, hidden_size=24, num_hidden_layers=1
        )
        model = getattr(transformers, f"{name}Model")(config)
        path = _save(tmp_path / name, model, vocabulary)
        with pytest.raises(ValueError, match=f"model_type is '{name.lower()}'"):
            huggingface.load(path)
        fields = json.loads((path / "config.json").read_text())
        del fields["model_type"]
        (path / "config.json").write_text(json.dumps(fields))
        with pytest.raises(
            ValueError, match=rf"json: {name}Model is not a BERT"
        ):
            huggingface.load(path)


def test_labels(tmp_path, vocabulary):
    torch_model = _torch_model("BertForSequenceClassification")
    path = _save(tmp_path, torch_model, vocabulary)
    # Old files have a number that id2label does not follow.
    _change_config(path, num_labels=3, id2label={"0": "a", "1": "b"})
    loaded, lines = _load(path)
    assert loaded.spec.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert lines[0].startswith("id2label has 2 labels, num_labels is 3")
    for labels, message in {
        '{"0": "a", "2": "b", "3": "c"}': "config.json: id2label is .*; needs",
        "[]": r"config.json: id2label is \[\]; needs",
        '["a", "b", "c"]': "config.json: id2label is .*; needs",
        '{"0": "a", "1": "a", "2": "c"}': "config.json: labels .* repeat a na",
        '{"0": "a", "1": "b"}': r"classifier\.weight \(3, 24\) cannot fill",
    }.items():
        _change_config(path, num_labels=None, id2label=json.loads(labels))
        with pytest.raises(ValueError, match=message):
            huggingface.load(path)


def test_the_vocabulary_may_be_shorter_than_the_table(small, vocabulary):
    path, _ = small
    file = path / "vocab.txt"
    file.write_text("\n".join(vocabulary.tokens[:-2]) + "\n")
    loaded, lines = _load(path)
    assert lines[0].startswith("2 rows of the token table have no token")
    assert (len(loaded.vocabulary), loaded.config.vocab_size) == (13, 15)
    # It is a model that can be saved and loaded.
    parts = {n: getattr(loaded, n) for n in ("config", "vocabulary", "spec")}
    folder.save(path / "kbert", loaded.model, **parts)
    assert folder.load(path / "kbert").config == loaded.config

    file.write_text("\n".join((*vocabulary.tokens, "more")) + "\n")
    with pytest.raises(ValueError, match="16 tokens, but the token table has"):
        huggingface.load(path)


def _random_model(task, vocabulary, **fields):
    config = BertConfig(
        vocab_size=len(vocabulary) + 2,
        lower_case=vocabulary.lower_case,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=20,
        type_vocab_size=3,
        **fields,
    )
    labels = LABELS if task == "classification" else ()
    spec = TaskSpec(task=task, max_seq_length=19, labels=labels)
    model = tasks.build(config, spec)
    rng = np.random.default_rng(5)
    for variable in model.weights:
        variable.assign(0.3 * rng.normal(size=variable.shape))
    return LoadedModel(
        model, config, vocabulary, spec, {"NOTICE": "für alle".encode()}
    )


AUTO = {
    "encoder": "AutoModel",
    "pretraining": "AutoModelForPreTraining",
    "masked_lm": "AutoModelForMaskedLM",
    "next_sentence": "AutoModelForNextSentencePrediction",
    "classification": "AutoModelForSequenceClassification",
}


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        ("encoder", {"position_embedding": "sinusoidal"}),
        ("pretraining", {"hidden_act": "gelu_erf", "layer_norm_epsilon": 1e-5}),
        ("masked_lm", {"tie_word_embeddings": False}),
        ("masked_lm", {"hidden_act": "relu", "mlm_hidden_act": "relu"}),
        ("next_sentence", {}),
        ("classification", {}),
    ],
)
def test_transformers_reads_what_is_written(task, fields, tmp_path, vocabulary):
    loaded = _random_model(task, vocabulary, **fields)
    path = tmp_path / "new" / "hf"
    huggingface.save(loaded, path, report=print)
    torch_model, info = getattr(transformers, AUTO[task]).from_pretrained(
        path, output_loading_info=True
    )
    assert {k: list(v) for k, v in info.items() if v} == {}
    assert type(torch_model).__name__ == TASKS[task]
    assert _difference(loaded.model, torch_model.eval()) <= 1e-5
    assert (path / "NOTICE").read_bytes() == "für alle".encode()
    # And so does kbert, the same.
    again, lines = _load(path)
    assert lines[0] == "2 rows of the token table have no token: kept."
    want = {
        **dataclasses.asdict(loaded.config),
        "position_embedding": "learned",
        "mlm_hidden_act": None,
    }
    assert dataclasses.asdict(again.config) == want
    assert again.vocabulary == vocabulary
    assert (again.spec.task, again.spec.labels) == (task, loaded.spec.labels)
    assert again.spec.max_seq_length == 19
    assert again.licences == loaded.licences
    got = {v.path: v.numpy() for v in again.model.weights}
    for variable in loaded.model.weights:
        np.testing.assert_array_equal(got[variable.path], variable.numpy())


@pytest.mark.parametrize(
    "casing",
    [
        {"lower_case": True},
        {"lower_case": False},
        {"lower_case": True, "strip_accents": False},
        {"lower_case": False, "tokenize_chinese_chars": False},
    ],
)
def test_the_tokenizer_that_is_written(casing, tmp_path, vocabulary):
    words = (*vocabulary.tokens, "The", "È", "e", "è", "好", "##好", "好好")
    vocabulary = dataclasses.replace(vocabulary, tokens=words, **casing)
    loaded = _random_model("encoder", vocabulary)
    huggingface.save(loaded, tmp_path / "hf", report=print)
    mode = (tmp_path / "hf" / "config.json").stat().st_mode
    assert (tmp_path / "hf" / "model.safetensors").stat().st_mode == mode
    assert _load(tmp_path / "hf")[0].vocabulary == vocabulary
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert theirs.model_max_length == 19
    texts = ["The film: was NOT longer.", "È è e. 好好好 good", "", "?"]
    want = theirs(texts, add_special_tokens=False)["input_ids"]
    got = Tokenizer(vocabulary)(tf.constant(texts)).to_list()
    assert got == want


def test_what_cannot_be_written(tmp_path, vocabulary):
    loaded = _random_model("masked_lm", vocabulary, mlm_hidden_act="relu")
    with pytest.raises(ValueError, match="mlm_hidden_act is 'relu'; a Hugging"):
        huggingface.save(loaded, tmp_path / "hf", report=print)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "notes.txt").write_text("mine")
    loaded = _random_model("encoder", vocabulary)
    with pytest.raises(ValueError, match="exists already; needs a new"):
        huggingface.save(loaded, tmp_path, report=print)
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_a_disk_that_takes_no_more(tmp_path, vocabulary):
    """By a limit to a file's size, which ends in the same kind of error."""
    loaded = _random_model("encoder", vocabulary)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="/hf: not written: .*too large"):
            huggingface.save(loaded, tmp_path / "hf", report=print)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
