# SPDX-License-Identifier: Apache-2.0
"""Folders of sentence-transformers, old and new, against pooling by hand."""

import json

import numpy as np
import pytest

import kbert
from kbert.checkpoints import folder, huggingface
from kbert.serving.signatures import Signatures
from kbert.tasks.embedding.settings import EncoderSettings, Settings

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

OLD = {
    kind: f"sentence_transformers.models.{kind}"
    for kind in ("Transformer", "Pooling", "Normalize", "Dense", "WordWeights")
}
NEW = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": (
        "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
    ),
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}
TEXTS = ["good", "The film was not very good.", "", "bad bad film " * 9]


def _write(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def _change(file, **fields):
    _write(file, {**json.loads(file.read_text()), **fields})


def _make(
    path, vocabulary, *, kinds=("Pooling",), types=OLD, inner="", length=8
):
    """A folder around a BERT of random weights in `inner`, and that BERT.

    Its max_seq_length is `length`, or 8 where its files are new ones.
    """
    torch_model = _make_bert(path / inner, vocabulary)
    if types is OLD:
        sentence = {"max_seq_length": length, "do_lower_case": False}
        modes = ("cls_token", "mean_tokens", "max_tokens", "lasttoken")
        pooling = {
            "word_embedding_dimension": 24,
            **{f"pooling_mode_{x}": x == "mean_tokens" for x in modes},
        }
    else:
        sentence, pooling = _new_settings(path, path / inner, kinds)
    _write(path / inner / "sentence_bert_config.json", sentence)
    _write(path / "1_Pooling" / "config.json", pooling)
    modules = [{"path": inner, "type": types["Transformer"]}]
    for index, kind in enumerate(kinds, start=1):
        modules.append({"path": f"{index}_{kind}", "type": types[kind]})
    for index, module in enumerate(modules):
        module |= {"idx": index, "name": str(index)}
    _write(path / "modules.json", modules)
    return torch_model


def _make_bert(path, vocabulary):
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=20,
    )
    torch.manual_seed(3)
    model = transformers.BertModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(vocabulary.tokens) + "\n")
    _write(path / "tokenizer_config.json", {"do_lower_case": True})
    return model


def _new_settings(path, bert, kinds):
    """Writes what version 6 does; gives the Transformer's and the Pooling's."""
    _change(bert / "tokenizer_config.json", model_max_length=8)
    settings = {
        "model_type": "SentenceTransformer",
        "prompts": {"query": "", "document": ""},
        "default_prompt_name": None,
    }
    _write(path / "config_sentence_transformers.json", settings)
    if "Normalize" in kinds:
        names = ("module_input_name", "module_output_name")
        normalize = dict.fromkeys(names, "sentence_embedding")
        _write(path / "2_Normalize" / "config.json", normalize)
    text = {"method": "forward", "method_output_name": "last_hidden_state"}
    sentence = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": text},
        "module_output_name": "token_embeddings",
    }
    pooling = {
        "embedding_dimension": 24,
        "pooling_mode": "mean",
        "include_prompt": True,
    }
    return sentence, pooling


# [CLS] and [SEP] are 2 and 3; rows of 8 tokens.
IDS = [
    [2, 8, 3],
    [2, 5, 6, 7, 10, 11, 8, 3],
    [2, 3],
    [2, 9, 9, 6, 9, 9, 6, 3],
]


def _by_hand(torch_model, pooling, normalize):
    found = []
    for ids in IDS:
        with torch.no_grad():
            rows = torch_model(torch.tensor([ids])).last_hidden_state[0].numpy()
        vector = {"cls": rows[0], "mean": rows.mean(0), "max": rows.max(0)}
        vector = vector[pooling]
        found.append(vector / np.linalg.norm(vector) if normalize else vector)
    return np.stack(found)


def _load(path):
    lines = []
    return huggingface.load(path, report=lines.append), lines


def _convert(call, source, output):
    flags = [f"--input={source}", f"--output={output}"]
    return call("convert", "--from=huggingface", *flags)


_QUICK = {("cls", "", "new"), ("mean", "0_Transformer", "old")}
_FORMS = [
    pytest.param(
        *(pooling, normalize, inner, types),
        id=f"{pooling}-{inner}-{name}",
        marks=[pytest.mark.slow] * ((pooling, inner, name) not in _QUICK),
    )
    for pooling, normalize in (("cls", True), ("mean", False), ("max", True))
    for inner in ("", "0_Transformer")
    for name, types in (("old", OLD), ("new", NEW))
]


@pytest.mark.parametrize(("pooling", "normalize", "inner", "types"), _FORMS)
def test_vectors_are_those_by_hand(
    types, inner, pooling, normalize, tmp_path, vocabulary, call
):
    path = tmp_path / "st"
    kinds = ("Pooling", "Normalize") if normalize else ("Pooling",)
    torch_model = _make(path, vocabulary, kinds=kinds, types=types, inner=inner)
    modes = {
        "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_max_tokens": pooling == "max",
        "pooling_mode_cls_token": pooling == "cls",
    }
    modes = modes if types is OLD else {"pooling_mode": [pooling]}
    _change(path / "1_Pooling" / "config.json", **modes)
    (path / "LICENSE").write_text("as you like")
    said = _convert(call, path, tmp_path / "kbert")
    unit = "vectors of length 1, " if normalize else ""
    line = f"modules.json: {pooling} pooling, {unit}at most 8 tokens.\n"
    assert line in said
    loaded = folder.load(tmp_path / "kbert")
    assert loaded.spec.max_seq_length == 8
    want_settings = EncoderSettings(pooling=pooling, normalize=normalize)
    assert loaded.spec.settings == want_settings
    assert loaded.licences == {"LICENSE": b"as you like"}

    want = _by_hand(torch_model, pooling, normalize)
    embedder = kbert.Embedder.from_pretrained(path)  # as it was downloaded
    np.testing.assert_allclose(embedder.predict(TEXTS), want, atol=1e-5)
    # Of the converted one, what is asked for by name counts.
    server = kbert.Embedder.from_pretrained(
        tmp_path / "kbert", pooling="mean", normalize=False
    )
    want = _by_hand(torch_model, "mean", False)
    np.testing.assert_allclose(server.predict(TEXTS), want, atol=1e-5)


@pytest.mark.slow
def test_the_signature_and_the_command_give_them_too(
    tmp_path, vocabulary, call
):
    torch_model = _make(tmp_path / "st", vocabulary)
    modes = {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
    _change(tmp_path / "st" / "1_Pooling" / "config.json", **modes)
    model, output = tmp_path / "kbert", tmp_path / "vectors.npy"
    _convert(call, tmp_path / "st", model)
    want = _by_hand(torch_model, "cls", False)
    loaded = folder.load(model)
    parts = {"vocabulary": loaded.vocabulary, "spec": loaded.spec}
    graphs = Signatures(loaded.model, **parts).by_name()
    got = graphs["embeddings"](np.array(TEXTS))["embedding"].numpy()
    np.testing.assert_allclose(got, want, atol=1e-5)
    np.testing.assert_array_equal(
        graphs["serving_default"](np.array(TEXTS))["embedding"].numpy(), got
    )

    table = tmp_path / "texts.csv"
    table.write_text("text\n" + "".join(f'"{text}"\n' for text in TEXTS))
    flags = [f"--model={model}", f"--input={table}", "--output=embeddings"]
    flags += [f"--output_file={output}"]
    call("predict", *flags)
    np.testing.assert_allclose(np.load(output), want, atol=1e-5)
    call("predict", *flags, "--pooling=max", "--normalize")
    want = _by_hand(torch_model, "max", True)
    np.testing.assert_allclose(np.load(output), want, atol=1e-5)


@pytest.mark.parametrize("settings", [("cls", False), ("mean", True)])
def test_and_back(settings, tmp_path, vocabulary):
    kinds = ("Pooling", "Normalize")
    _make(tmp_path / "st", vocabulary, kinds=kinds, types=NEW)
    loaded, _ = _load(tmp_path / "st")
    pooling, normalize = settings
    object.__setattr__(
        loaded.spec,
        "settings",
        EncoderSettings(pooling=pooling, normalize=normalize),
    )
    huggingface.save(loaded, tmp_path / "back", report=print)
    modules = json.loads((tmp_path / "back" / "modules.json").read_text())
    assert len(modules) == 2 + normalize
    again, _ = _load(tmp_path / "back")
    assert again.spec == loaded.spec
    assert (again.spec.max_seq_length, again.spec.settings.pooling) == (
        8,
        pooling,
    )


def test_a_module_of_a_model_is_read_as_the_whole(tmp_path, vocabulary):
    kinds = ("Pooling", "Normalize")
    _make(tmp_path, vocabulary, kinds=kinds, inner="0_Transformer")
    loaded, lines = _load(tmp_path / "0_Transformer")
    assert loaded.spec == _load(tmp_path)[0].spec
    assert loaded.spec.settings.normalize
    assert lines[0].startswith("0_Transformer is a module of ")
    message = f"1_Pooling: the module Pooling of .*; give the .*, {tmp_path}"
    with pytest.raises(ValueError, match=message):
        _load(tmp_path / "1_Pooling")
    # One that is of no module stands for itself.
    model = transformers.BertModel.from_pretrained(tmp_path / "0_Transformer")
    model.save_pretrained(tmp_path / "other")
    for name in ("vocab.txt", "tokenizer_config.json"):
        text = (tmp_path / "0_Transformer" / name).read_text()
        (tmp_path / "other" / name).write_text(text)
    assert _load(tmp_path / "other")[0].spec.settings == EncoderSettings()


def test_the_length_without_modules_and_beyond_the_positions(
    tmp_path, vocabulary
):
    _make(tmp_path, vocabulary, length=30)
    loaded, lines = _load(tmp_path)
    assert loaded.spec.max_seq_length == 20
    assert any(
        "max_seq_length 30: the model takes at most 20" in x for x in lines
    )
    for name in ("modules.json", "1_Pooling/config.json"):
        (tmp_path / name).unlink()
    _change(tmp_path / "sentence_bert_config.json", max_seq_length=7)
    assert _load(tmp_path)[0].spec.max_seq_length == 7


def test_prompts_of_queries_and_documents_are_read(tmp_path, vocabulary):
    _make(tmp_path, vocabulary, types=NEW)
    file = tmp_path / "config_sentence_transformers.json"
    prompts = {"corpus": "c", "passage": "the ", "query": "very ", "old": "x"}
    _change(file, prompts=prompts)
    loaded, lines = _load(tmp_path)
    assert loaded.spec.task == "embedding"
    assert loaded.spec.settings == Settings(
        query_prompt="very ", document_prompt="the "
    )
    line = "prompts corpus, old are left out: put them before your texts."
    assert any(line in x for x in lines)
    # An empty default does nothing.
    _change(file, prompts={**prompts, "": ""}, default_prompt_name="")
    _load(tmp_path)


def _dense(path, module, sizes, *, bias, activation):
    """Writes a Dense module of random weights; returns it."""
    layer = torch.nn.Linear(*sizes, bias=bias)
    (path / module).mkdir()
    kind = torch.nn.Tanh if activation == "Tanh" else torch.nn.Identity
    fields = {
        "in_features": sizes[0],
        "out_features": sizes[1],
        "bias": bias,
        "activation_function": f"{kind.__module__}.{kind.__name__}",
    }
    _write(path / module / "config.json", fields)
    state = {f"linear.{k}": v for k, v in layer.state_dict().items()}
    torch.save(state, path / module / "pytorch_model.bin")
    return torch.nn.Sequential(layer, kind())


def test_dense_modules_are_layers(tmp_path, vocabulary):
    kinds = ("Pooling", "Dense", "Dense", "Normalize")
    torch_model = _make(tmp_path, vocabulary, kinds=kinds)
    layers = torch.nn.Sequential(
        _dense(tmp_path, "2_Dense", (24, 7), bias=True, activation="Tanh"),
        _dense(tmp_path, "3_Dense", (7, 5), bias=False, activation=""),
    )
    vectors = torch.tensor(_by_hand(torch_model, "mean", False))
    with torch.no_grad():
        want = torch.nn.functional.normalize(layers(vectors)).numpy()
    loaded, lines = _load(tmp_path)
    assert loaded.spec.settings == Settings(
        dense=("7:tanh", "5:linear"), normalize=True
    )
    line = "mean pooling, dense 7:tanh, dense 5:linear, vectors of length 1"
    assert any(line in x for x in lines)
    got = kbert.Embedder.from_pretrained(tmp_path).predict(TEXTS)
    np.testing.assert_allclose(got, want, atol=1e-5)
    _change(
        tmp_path / "3_Dense" / "config.json",
        activation_function="torch.nn.modules.activation.SiLU",
    )
    with pytest.raises(ValueError, match="SiLU', which kbert cannot repr"):
        _load(tmp_path)
    _change(tmp_path / "2_Dense" / "config.json", out_features=10**9)
    message = r"2_Dense/\S+: linear.weight has the shape \(7, 24\); config.json"
    with pytest.raises(ValueError, match=message):
        _load(tmp_path)


def test_a_cross_encoder_is_a_reranker(tmp_path, vocabulary):
    _make(tmp_path, vocabulary, kinds=(), types=NEW)
    config = transformers.BertConfig.from_pretrained(tmp_path)
    config.num_labels, config.problem_type = 1, None
    model = transformers.BertForSequenceClassification(config)
    model.save_pretrained(tmp_path)
    file = tmp_path / "config_sentence_transformers.json"
    activation = "torch.nn.modules.linear.Identity"
    _change(file, model_type="CrossEncoder", activation_fn=activation)
    output = {"method": "forward", "method_output_name": "logits"}
    _change(
        tmp_path / "sentence_bert_config.json",
        transformer_task="sequence-classification",
        module_output_name="scores",
        modality_config={"text": output},
    )
    spec = _load(tmp_path)[0].spec
    assert (spec.task, spec.settings.activation, spec.max_seq_length) == (
        "reranking",
        "none",
        8,
    )


REFUSED = {
    "Dense behind Normalize": (
        {"modules": ("Pooling", "Normalize", "Dense")},
        r"modules\.json: module 2 is Normalize, which kbert cannot",
    ),
    "two Poolings": (
        {"modules": ("Pooling", "Pooling")},
        r"modules\.json: module 2 is Pooling, which",
    ),
    "weights of words": (
        {"modules": ("WordWeights", "Pooling")},
        r"modules\.json: module 1 is WordWeights, which",
    ),
    "no Pooling": ({"modules": ()}, r"modules\.json: no Pooling"),
    "joined, before version 6": (
        {"1_Pooling/config.json": {"pooling_mode_cls_token": True}},
        r"1_Pooling/config\.json: cls and mean pooling concatenated",
    ),
    "joined": (
        {"1_Pooling/config.json": {"pooling_mode": ["mean", "max"]}},
        r"1_Pooling/config\.json: mean and max pooling concatenated",
    ),
    **{
        name: (
            {"1_Pooling/config.json": {"pooling_mode": name}},
            rf"1_Pooling/config\.json: {name} pooling, which kbert cannot",
        )
        for name in ("weightedmean", "lasttoken")
    },
    "the last token, before version 6": (
        {
            "1_Pooling/config.json": {
                "pooling_mode_mean_tokens": False,
                "pooling_mode_lasttoken": True,
            }
        },
        r"1_Pooling/config\.json: lasttoken pooling, which kbert cannot",
    ),
    "prompts that do not count": (
        {"1_Pooling/config.json": {"include_prompt": False}},
        r"1_Pooling/config\.json: include_prompt is False, which",
    ),
    "a field of a later version": (
        {"1_Pooling/config.json": {"temperature": 2}},
        r"1_Pooling/config\.json: unknown fields \['temperature'\]",
    ),
    "another width": (
        {"1_Pooling/config.json": {"word_embedding_dimension": 32}},
        r"word_embedding_dimension is 32, but hidden_size is 24",
    ),
    "a default prompt": (
        {
            "config_sentence_transformers.json": {
                "prompts": {"query": "find: "},
                "default_prompt_name": "query",
            }
        },
        r"transformers\.json: default_prompt_name is 'query': a prompt before",
    ),
    "a default prompt that is not there": (
        {"config_sentence_transformers.json": {"default_prompt_name": "x"}},
        r"transformers\.json: default_prompt_name is 'x'",
    ),
    "another kind of model": (
        {"config_sentence_transformers.json": {"model_type": "SparseEncoder"}},
        r"transformers\.json: model_type is 'SparseEncoder', which kbert",
    ),
    "another task": (
        {"sentence_bert_config.json": {"transformer_task": "fill-mask"}},
        r"bert_config\.json: transformer_task is 'fill-mask', which kbert",
    ),
    "settings of the tokenizer": (
        {"sentence_bert_config.json": {"tokenizer_args": {"use_fast": False}}},
        r"bert_config\.json: tokenizer_args is \{'use_fast': False\}, which",
    ),
    "another output": (
        {
            "sentence_bert_config.json": {
                "modality_config": {
                    "text": {
                        "method": "forward",
                        "method_output_name": "pooler_output",
                    }
                }
            }
        },
        r"bert_config\.json: modality_config has text .*pooler_output",
    ),
    "a length that is none": (
        {"sentence_bert_config.json": {"max_seq_length": "8"}},
        r"bert_config\.json: max_seq_length is '8'; needs",
    ),
    "cased tokens of lower-cased texts": (
        {
            "sentence_bert_config.json": {"do_lower_case": True},
            "tokenizer_config.json": {"do_lower_case": False},
        },
        r"bert_config\.json: do_lower_case is true, but the tokenizer is cased",
    ),
    "normalized tokens": (
        {
            "modules": ("Pooling", "Normalize"),
            "2_Normalize/config.json": {
                "module_input_name": "token_embeddings"
            },
        },
        r"2_Normalize/config\.json: module_input_name is 'token_embeddings'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_kbert_cannot_represent_is_named(name, tmp_path, vocabulary):
    changes, message = REFUSED[name]
    changes = dict(changes)
    _make(tmp_path, vocabulary, kinds=changes.pop("modules", ("Pooling",)))
    for file, fields in changes.items():
        if not (tmp_path / file).exists():
            _write(tmp_path / file, {})
        _change(tmp_path / file, **fields)
    with pytest.raises(ValueError, match=message) as error:
        huggingface.load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([], "the first module is none; kbert needs a Transformer"),
        ({}, "needs a list"),
        ([{"path": ""}], "a module without a type or a path"),
        (
            [{"path": "../x", "type": OLD["Transformer"]}],
            "path is '../x'; needs one inside the folder",
        ),
        (
            [{"path": "/etc", "type": OLD["Transformer"]}],
            "path is '/etc'; needs one inside the folder",
        ),
        (
            [{"path": "", "type": "modeling.Mine"}],
            "type is 'modeling.Mine', custom code",
        ),
        ([{"path": "", "type": OLD["Pooling"]}], "the first module is Pooling"),
    ],
)
def test_modules_of_other_shapes(modules, message, tmp_path, vocabulary):
    _make(tmp_path, vocabulary)
    _write(tmp_path / "modules.json", modules)
    with pytest.raises(ValueError, match=rf"modules\.json: .*{message}"):
        huggingface.load(tmp_path)


def test_a_folder_that_has_lost_its_modules(tmp_path, vocabulary):
    _make(tmp_path, vocabulary)
    (tmp_path / "modules.json").unlink()
    with pytest.raises(ValueError, match=r"1_Pooling, but no modules\.json"):
        huggingface.load(tmp_path)


def test_a_model_folder_of_before_gives_the_mean(tmp_path, vocabulary):
    _make(tmp_path / "st", vocabulary)
    loaded, _ = _load(tmp_path / "st")
    spec = dict(vars(loaded.spec), settings=None)
    assert kbert.TaskSpec(**spec).settings == EncoderSettings(
        pooling="mean", normalize=False
    )
    for wrong, message in (
        ({"pooling": "sum"}, 'pooling is "sum"; needs one of'),
        ({"pooling": ["cls"]}, r"pooling is .*cls.*; needs one of"),
        ({"normalize": 1}, "normalize is 1; needs true or false"),
        ({"dense": 1}, "settings: unknown fields .*dense"),
    ):
        with pytest.raises(ValueError, match=message):
            kbert.TaskSpec(**{**spec, "settings": wrong})
