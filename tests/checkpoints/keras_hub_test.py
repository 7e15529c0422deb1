# SPDX-License-Identifier: Apache-2.0
"""Presets in and out, against KerasHub itself on the same weights."""

import dataclasses
import functools
import json
import resource
import shutil

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert import tasks
from kbert.checkpoints import folder, keras_hub
from kbert.checkpoints.folder import LoadedModel
from kbert.checkpoints.keras_hub_files import OTHER_CLEANING
from kbert.tasks import TaskSpec
from kbert.text.tokenizer import Tokenizer

hub = pytest.importorskip("keras_hub")

BACKBONE = {
    "vocabulary_size": 15,
    "num_layers": 2,
    "num_heads": 4,
    "hidden_dim": 16,
    "intermediate_dim": 28,
    "max_sequence_length": 24,
    "num_segments": 3,
    "dropout": 0.15,
}


def _randomized(model, seed=2):
    """No weight is 0 or 1, as biases and norms begin."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign_add(0.3 * rng.normal(size=weight.shape))
    return model


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """Saves a preset of a class of KerasHub once; gives it and the model."""

    @functools.cache
    def make(name, tokens, strip_accents, **arguments):
        tokenizer = hub.tokenizers.BertTokenizer(
            list(tokens), lowercase=True, strip_accents=strip_accents
        )
        model = hub.models.BertBackbone(**BACKBONE)
        if name != "BertBackbone":
            cls = getattr(hub.models, name)
            preprocessor = cls.preprocessor_cls(tokenizer, sequence_length=12)
            model = cls(model, preprocessor=preprocessor, **arguments)
        path = tmp_path_factory.mktemp("made") / "preset"
        _randomized(model).save_to_preset(str(path))
        tokenizer.save_to_preset(str(path))
        return path, model

    return make


@pytest.fixture
def make_preset(presets, tmp_path, vocabulary):
    """A preset that a test may spoil, and the model."""

    def make(name="BertBackbone", strip_accents=True, **arguments):
        made = presets(name, vocabulary.tokens, strip_accents, **arguments)
        shutil.copytree(made[0], tmp_path / "preset")
        return tmp_path / "preset", made[1]

    return make


def _load(path, lower_case=None):
    lines = []
    report = lines.append
    loaded = keras_hub.load(path, lower_case=lower_case, report=report)
    lines.remove(OTHER_CLEANING)
    return loaded, lines


def _compare(loaded, model, random_inputs, outputs, difference):
    """Largest difference of the encoder's outputs and the head's."""
    inputs = random_inputs(loaded.config)
    got = outputs(loaded, inputs)
    backbone = getattr(model, "backbone", model)
    want = backbone({name: inputs[name] for name in backbone.input})
    real = inputs["padding_mask"].astype(bool)
    pairs = [(got["sequence"], want["sequence_output"].numpy()[real])]
    if "pooled" in got:
        pairs.append((got["pooled"], want["pooled_output"].numpy()))
    if model is not backbone:
        head = "mlm_logits" if "mlm_logits" in got else "logits"
        want = model({name: inputs[name] for name in model.input})
        pairs.append((got[head], want.numpy()))
    return max(difference(one, other) for one, other in pairs)


def test_a_backbones_outputs(
    make_preset, vocabulary, random_inputs, outputs, difference
):
    path, model = make_preset()
    (path / "LICENSE").write_text("Apache License")
    loaded, lines = _load(path)
    assert loaded.spec == TaskSpec(task="encoder", max_seq_length=24)
    assert loaded.vocabulary == vocabulary
    assert loaded.licences == {"LICENSE": b"Apache License"}
    config = loaded.config
    assert (config.type_vocab_size, config.hidden_dropout_prob) == (3, 0.15)
    assert config.attention_probs_dropout_prob == 0.15
    assert lines == [f"{len(model.weights)} tensors read."]
    parts = (loaded, model, random_inputs, outputs, difference)
    assert _compare(*parts) <= 1e-5


def test_a_masked_lms_outputs(make_preset, random_inputs, outputs, difference):
    path, model = make_preset("BertMaskedLM")
    loaded, lines = _load(path)
    assert (loaded.spec.task, loaded.spec.max_seq_length) == ("masked_lm", 12)
    assert loaded.config.hidden_act == "gelu"
    assert loaded.config.mlm_hidden_act == "gelu_erf"
    assert lines == [
        f"{len(model.weights) - 2} tensors read.",
        "2 tensors left out: pooled_dense/bias, pooled_dense/kernel.",
    ]
    parts = (loaded, model, random_inputs, outputs, difference)
    assert _compare(*parts) <= 1e-5
    # It is a model that can be saved and loaded.
    fields = dataclasses.asdict(loaded.config)
    save = {n: getattr(loaded, n) for n in ("config", "vocabulary", "spec")}
    folder.save(path / "kbert", loaded.model, **save)
    assert dataclasses.asdict(folder.load(path / "kbert").config) == fields


def test_a_classifiers_outputs(make_preset, random_inputs, outputs, difference):
    path, model = make_preset("BertTextClassifier", num_classes=3)
    loaded, lines = _load(path)
    assert loaded.spec == TaskSpec(
        task="classification", max_seq_length=12, labels=("0", "1", "2")
    )
    assert lines == [
        "3 classes without names: their names are numbers.",
        "task.json: dropout is 0.1; kbert's is 0.15.",
        f"{len(model.weights)} tensors read.",
    ]
    parts = (loaded, model, random_inputs, outputs, difference)
    assert _compare(*parts) <= 1e-5


def test_a_classifier_with_a_softmax(make_preset, random_inputs, difference):
    path, model = make_preset(
        "BertTextClassifier", num_classes=3, activation="softmax"
    )
    loaded, lines = _load(path)
    assert "The logits are the input of the preset's softmax." in lines
    inputs = random_inputs(loaded.config)
    inputs = {name: inputs[name] for name in model.input}
    got = keras.ops.softmax(loaded.model(inputs)["logits"]).numpy()
    assert difference(got, model(inputs).numpy()) <= 1e-5


def test_a_classifier_of_several_labels(make_ours, tmp_path, random_inputs):
    ours = make_ours("classification", ("a", "b", "c"), multi_label=True)
    assert _save(ours, tmp_path / "preset") == [
        "A preset has no field for labels, in this order: a, b, c."
    ]
    preset = str(tmp_path / "preset")
    theirs = hub.models.BertTextClassifier.from_preset(preset)
    inputs = random_inputs(ours.config)
    inputs = {name: inputs[name] for name in theirs.input}
    want = keras.ops.sigmoid(ours.model(inputs)["logits"])
    np.testing.assert_allclose(theirs(inputs), want, atol=1e-5)
    again, lines = _load(tmp_path / "preset")
    assert again.spec.settings == ours.spec.settings
    assert "The logits are the input of the preset's sigmoid." in lines


def test_how_vectors_are_made_is_named(make_ours, tmp_path):
    ours = make_ours("encoder", pooling="cls", normalize=True)
    lines = _save(ours, tmp_path / "preset")
    for name, value in (("pooling", "cls"), ("normalize", True)):
        assert f"A preset has no field for {name}, {value}." in lines


def test_a_head_without_its_task_is_named(make_preset):
    path, _ = make_preset("BertTextClassifier", num_classes=3)
    (path / "task.json").unlink()
    loaded, lines = _load(path)
    assert loaded.spec.task == "encoder"
    assert lines[0] == "No task.json: the head in task.weights.h5 is left out."


def test_a_name_is_downloaded(make_preset, monkeypatch):
    path, _ = make_preset()
    asked = []

    def download(handle):
        asked.append(handle)
        return str(path)

    monkeypatch.setattr(keras_hub.kagglehub, "model_download", download)
    _load("bert_tiny_en_uncased")
    _load("kaggle://someone/bert/keras/mine")
    assert asked[0].startswith("keras/bert/keras/bert_tiny_en_uncased")
    assert asked[1] == "someone/bert/keras/mine"
    with pytest.raises(ValueError, match="bert_huge: neither a folder nor one"):
        _load("bert_huge")


def test_accents_as_the_preset_says(make_preset):
    path, _ = make_preset(strip_accents=False)
    vocabulary = _load(path)[0].vocabulary
    assert (vocabulary.lower_case, vocabulary.strip_accents) == (True, False)


def _edit(file, change):
    fields = json.loads(file.read_text())
    change(fields)
    file.write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("file", "field", "value", "message"),
    [
        ("config.json", "activation", "relu", r"unknown fields \['activation"),
        ("config.json", "num_layers", "2", 'num_hidden_layers is "2"; needs'),
        ("config.json", "num_heads", 3, "num_attention_heads 3 does not div"),
        ("config.json", "dtype", "int8_from_float32", "dtype is 'int8_from"),
        ("config.json", "dtype", [1], r"dtype is \[1\]; needs one of"),
        ("tokenizer.json", "split", False, "split is False; kbert's token"),
        ("tokenizer.json", "suffix_indicator", "@@", "suffix_indicator is '@"),
        ("tokenizer.json", "lowercase", None, "lowercase is None; needs true"),
        ("task.json", "activation", "tanh", "activation is 'tanh'; needs line"),
        ("task.json", "num_classes", 1, "num_classes is 1; needs at least 2"),
        ("task.json", "num_classes", "3", "num_classes is '3'; needs at"),
        ("task.json", "num_classes", 10**6 + 1, "num_classes is 1000001; need"),
    ],
)
def test_what_kbert_cannot_represent(file, field, value, message, make_preset):
    path, _ = make_preset("BertTextClassifier", num_classes=3)
    _edit(path / file, lambda fields: fields["config"].update({field: value}))
    with pytest.raises(ValueError, match=rf"{file}: {message}"):
        _load(path)


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        ("config.json", {"class_name": "RobertaBackbone"}, "'RobertaBackbone'"),
        ("config.json", {"model_type": "bert"}, "use --from=huggingfac"),
        ("config.json", {"config": 3}, "config is 3; needs an object"),
        ("config.json", {"class_name": ["x"]}, r"class_name is \['x'\]; need"),
        ("tokenizer.json", {"class_name": "RobertaTokenizer"}, "'RobertaTok"),
    ],
)
def test_other_architectures(file, fields, message, make_preset):
    path, _ = make_preset()
    _edit(path / file, lambda written: written.update(fields))
    with pytest.raises(ValueError, match=rf"{file}: .*{message}"):
        _load(path)


def test_other_tasks_leave_the_encoder(make_preset):
    path, _ = make_preset("BertMaskedLM")
    _edit(path / "task.json", lambda f: f.update(class_name="BertTextEmbedder"))
    loaded, lines = _load(path)
    assert loaded.spec.task == "encoder"
    assert lines[0] == (
        "task.json: BertTextEmbedder is not supported: only the encoder is "
        "read."
    )


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_layers", 1, r"model.weights.h5: \d+ weights; config.json needs"),
        ("num_layers", 3, r"model.weights.h5: \d+ weights; config.json needs"),
        ("max_sequence_length", 23, r"model.weights.h5: \d+ weights; config"),
        (
            "max_sequence_length",
            2**17,
            r"weights.h5: has .* weights; the en",
        ),
        ("num_classes", 2, r"task.weights.h5: 51 weights; config.json needs 3"),
    ],
)
def test_a_config_that_does_not_fit(field, value, message, make_preset):
    path, _ = make_preset("BertTextClassifier", num_classes=3)
    name = "task.json" if field == "num_classes" else "config.json"
    _edit(path / name, lambda fields: fields["config"].update({field: value}))
    with pytest.raises(ValueError, match=message):
        _load(path)


def test_a_git_lfs_pointer_instead_of_a_file(make_preset):
    path, _ = make_preset("BertMaskedLM")
    for name in (
        *("config.json", "tokenizer.json", "task.json"),
        *("model.weights.h5", "task.weights.h5"),
        "assets/tokenizer/vocabulary.txt",
    ):
        file = path / name
        whole = file.read_bytes()
        file.write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
        message = f"{file.name}: is a Git LFS pointer, .*run git lfs pull"
        with pytest.raises(ValueError, match=message):
            _load(path)
        file.write_bytes(whole)


def test_what_has_to_be_there(make_preset, vocabulary, tmp_path):
    path, _ = make_preset("BertMaskedLM")
    with pytest.raises(ValueError, match="lowercase is True, but --lower_case"):
        _load(path, False)
    with h5py.File(path / "task.weights.h5", "a") as file:
        file["layers/masked_lm_head/vars/0"][3] = np.nan
    with pytest.raises(ValueError, match="output_bias has 1 values that are n"):
        _load(path)
    for name in ("task.weights.h5", "tokenizer.json", "config.json"):
        (path / name).unlink()
        with pytest.raises(ValueError, match=f"no {name}"):
            _load(path)


@pytest.fixture
def make_ours(tiny_config, vocabulary):
    """A kbert model of random weights for a task."""

    def make(task, labels=(), **fields):
        settings = {
            name: fields.pop(name)
            for name in ("multi_label", "pooling", "normalize")
            if name in fields
        }
        config = dataclasses.replace(tiny_config, **fields)
        spec = TaskSpec(
            task=task,
            max_seq_length=20,
            labels=labels,
            settings=settings or None,
        )
        model = _randomized(tasks.build(config, spec), 6)
        licences = {"LICENSE": b"Apache License"}
        return LoadedModel(model, config, vocabulary, spec, licences)

    return make


def _save(loaded, path):
    lines = []
    keras_hub.save(loaded, path, report=lines.append)
    lines.remove(OTHER_CLEANING)
    return lines


_AS_THEIRS = {"mlm_hidden_act": "gelu_erf", "mlm_layer_norm_epsilon": 1e-5}
_NO_NSP = "The next-sentence output is left out: KerasHub has none."
_NO_MASKED_LM = (
    "The masked-LM output is left out: mlm_hidden_act is 'gelu'; KerasHub's "
    "BertMaskedLM has 'gelu_erf'."
)
_NO_LENGTH = "A preset has no field for max_seq_length, 20."
_NO_POOLER = "Newly initialized: pooled_dense/kernel, pooled_dense/bias."


@dataclasses.dataclass(frozen=True)
class Case:
    task: str
    theirs: str
    lines: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    fields: dict = dataclasses.field(default_factory=dict)


@pytest.mark.parametrize(
    "case",
    [
        Case("encoder", "BertBackbone", (_NO_LENGTH,)),
        Case(
            *("classification", "BertTextClassifier"),
            (
                "attention_probs_dropout_prob: KerasHub trains with 0.1.",
                "A preset has no field for labels, in this order: bad, good.",
            ),
            ("bad", "good"),
            {"attention_probs_dropout_prob": 0.2},
        ),
        Case("masked_lm", "BertMaskedLM", (_NO_POOLER,), (), _AS_THEIRS),
        Case("pretraining", "BertMaskedLM", (_NO_NSP,), (), _AS_THEIRS),
        Case(
            "pretraining", "BertBackbone", (_NO_NSP, _NO_MASKED_LM, _NO_LENGTH)
        ),
        Case("next_sentence", "BertBackbone", (_NO_NSP, _NO_LENGTH)),
    ],
    ids=lambda case: f"{case.task}-{case.theirs}",
)
def test_kerashub_computes_the_same(
    case, make_ours, tmp_path, random_inputs, outputs, difference
):
    ours = make_ours(case.task, case.labels, **case.fields)
    path = tmp_path / "preset"
    assert _save(ours, path) == list(case.lines)
    assert (path / "LICENSE").read_bytes() == b"Apache License"
    loaded = getattr(hub.models, case.theirs).from_preset(str(path))
    parts = (loaded, random_inputs, outputs, difference)
    assert _compare(ours, *parts) <= 1e-5
    if case.theirs != "BertBackbone":
        assert loaded.preprocessor.sequence_length == 20
    assert [file.name for file in tmp_path.iterdir()] == ["preset"]


def test_what_went_out_comes_back(make_ours, tmp_path):
    ours = make_ours("masked_lm", **_AS_THEIRS)
    _save(ours, tmp_path / "preset")
    again, _ = _load(tmp_path / "preset")
    assert again.config == ours.config
    assert (again.spec, again.vocabulary) == (ours.spec, ours.vocabulary)
    assert again.licences == ours.licences
    for one, other in zip(again.model.weights, ours.model.weights, strict=True):
        np.testing.assert_array_equal(one, other, one.path)


@pytest.mark.parametrize("lower_case", [True, False])
def test_kerashub_gives_the_same_ids(lower_case, make_ours, tmp_path):
    ours = make_ours("encoder", lower_case=lower_case)
    vocabulary = dataclasses.replace(
        ours.vocabulary,
        tokens=(*ours.vocabulary.tokens[:-1], "\u597d", "na", "##\xef"),
        lower_case=lower_case,
        strip_accents=lower_case,
    )
    config = dataclasses.replace(ours.config, vocab_size=len(vocabulary))
    model = tasks.build(config, ours.spec)
    ours = LoadedModel(model, config, vocabulary, ours.spec)
    _save(ours, tmp_path / "preset")
    texts = [
        "The film was n\u00f6t VERY long",
        "Longer, w\u00e0s\u597d\u597d not.bad the\tf\u0131lm",
        "",
        "na\u00ef NA\u00cf nai wa\u0301s [MASK]",
    ]
    preset = str(tmp_path / "preset")
    theirs = hub.tokenizers.BertTokenizer.from_preset(preset)(texts)
    got = Tokenizer(vocabulary)(tf.constant(texts)).to_list()
    assert got == [list(ids) for ids in theirs]
    assert len({i for ids in got for i in ids}) > 8


@pytest.mark.parametrize(
    ("task", "fields", "message"),
    [
        (
            "encoder",
            {"hidden_act": "gelu_erf"},
            "hidden_act is 'gelu_erf'; KerasHub's BertBackbone has 'gelu', the "
            "tanh form of GELU and nothing else",
        ),
        ("encoder", {"layer_norm_epsilon": 1e-5}, "layer_norm_epsilon is 1e-0"),
        ("encoder", {"position_embedding": "sinusoidal"}, "position_embedding"),
        ("masked_lm", {}, "mlm_hidden_act is 'gelu'; KerasHub's BertMaskedLM"),
        (
            "masked_lm",
            {"mlm_hidden_act": "gelu_erf"},
            "mlm_layer_norm_epsilon is 1e-12; KerasHub's BertMaskedLM has 1e-0",
        ),
        (
            "masked_lm",
            {**_AS_THEIRS, "tie_word_embeddings": False},
            "tie_word_embeddings is False; KerasHub's BertMaskedLM has True",
        ),
    ],
)
def test_what_kerashub_cannot_represent(
    task, fields, message, make_ours, tmp_path
):
    with pytest.raises(ValueError, match=message):
        _save(make_ours(task, **fields), tmp_path / "preset")
    assert not list(tmp_path.iterdir())


def test_tokens_that_kerashub_cannot_cut(make_ours, tmp_path):
    ours = make_ours("encoder")
    whole = dataclasses.replace(ours.vocabulary, tokenize_chinese_chars=False)
    odd = dataclasses.replace(
        ours.vocabulary, tokens=(*ours.vocabulary.tokens[:-1], "x\u3000")
    )
    for vocabulary, message in (
        (whole, "chinese_chars is F"),
        (odd, "ends in"),
    ):
        loaded = dataclasses.replace(ours, vocabulary=vocabulary)
        with pytest.raises(ValueError, match=message):
            _save(loaded, tmp_path / "preset")


def test_what_is_there_is_not_replaced(make_ours, tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ValueError, match="exists already"):
        _save(make_ours("encoder"), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("limit", [0, 4096, 40000])
def test_a_disk_that_takes_no_more(limit, make_ours, tmp_path):
    """By a limit to a file's size, which ends in the same kind of error."""
    loaded = make_ours("encoder")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(OSError, match="too large: '.*/hub/model.weig"):
            _save(loaded, tmp_path / "hub")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def _damage(path, seeds):
    """Each damaged copy is refused, or read as what KerasHub would read.

    HDF5 has no checksum: not all damage shows.
    """
    refused = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        files = sorted(p for p in path.rglob("*") if p.is_file())
        file = files[rng.integers(len(files))]
        whole = file.read_bytes()
        data = bytearray(whole)
        at = rng.integers(len(data))
        if rng.random() < 0.7:
            data[at] ^= 1 << rng.integers(8)
        else:
            del data[at:]
        file.write_bytes(data)
        try:
            _load(path)
        except ValueError as error:
            assert "\n" not in str(error), seed
            refused += 1
        file.write_bytes(whole)
    return refused


def test_damaged_files(make_preset):
    path, _ = make_preset("BertMaskedLM")
    assert _damage(path, range(12)) >= 4


@pytest.mark.slow
def test_many_damaged_files(make_preset):
    path, _ = make_preset("BertMaskedLM")
    assert _damage(path, range(100, 500)) >= 100
