# SPDX-License-Identifier: Apache-2.0
"""Heads of Hugging Face's BERTs, in and out, against transformers itself."""

import json
from typing import Any, NamedTuple

import numpy as np
import pytest

import kbert
from kbert import tasks
from kbert.checkpoints import folder, huggingface
from kbert.checkpoints.folder import LoadedModel
from kbert.config import BertConfig
from kbert.tasks import TaskSpec

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CLASSES = ("schön", "so-so", "bad")
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
MULTI = "multi_label_classification"
_SEQUENCE = "ForSequenceClassification"


class Head(NamedTuple):
    """A head, as both libraries call it: config.json's fields, the spec's."""

    name: str  # of transformers' class, without Bert and AutoModel
    fields: dict[str, Any]
    spec: dict[str, Any]


def _named(*labels):
    return {"id2label": dict(enumerate(labels))}


HEADS = {
    "classes": Head(
        _SEQUENCE,
        {**_named(*CLASSES), "problem_type": "single_label_classification"},
        {"task": "classification", "labels": CLASSES},
    ),
    "several classes": Head(
        _SEQUENCE,
        {**_named(*CLASSES), "problem_type": MULTI},
        {
            "task": "classification",
            "labels": CLASSES,
            "settings": {"multi_label": True},
        },
    ),
    "a number": Head(
        _SEQUENCE,
        {**_named("LABEL_0"), "problem_type": "regression"},
        {"task": "regression"},
    ),
    "a reranker": Head(
        _SEQUENCE,
        {
            **_named("LABEL_0"),
            "sentence_transformers": {
                "activation_fn": "torch.nn.modules.linear.Identity"
            },
        },
        {"task": "reranking", "settings": {"activation": "none"}},
    ),
    "tags": Head(
        "ForTokenClassification",
        _named(*TAGS),
        {"task": "tagging", "labels": TAGS, "settings": {"stride": 10}},
    ),
    "answers": Head(
        "ForQuestionAnswering",
        {},
        {
            "task": "question_answering",
            "num_texts": 2,
            "settings": {"stride": 6},
        },
    ),
    "choices": Head(
        "ForMultipleChoice",
        {"num_choices": 3},
        {"task": "multiple_choice", "settings": {"num_choices": 3}},
    ),
}
SIZES = {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 40}
SIZES |= {"num_hidden_layers": 2, "max_position_embeddings": 20}


def _torch_folder(path, head, vocabulary, **fields):
    """A folder of random weights, neither 0 nor 1, and its model."""
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), **{**SIZES, **head.fields, **fields}
    )
    model = getattr(transformers, f"Bert{head.name}")(config)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(vocabulary.tokens) + "\n")
    (path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    return model.eval()


def _change_config(path, **fields):
    file = path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def _kbert_model(head, vocabulary, **fields):
    config = BertConfig(
        vocab_size=len(vocabulary), lower_case=True, **SIZES, **fields
    )
    spec = TaskSpec(max_seq_length=20, **head.spec)
    model = tasks.build(config, spec)
    rng = np.random.default_rng(5)
    for variable in model.weights:
        variable.assign(0.3 * rng.normal(size=variable.shape))
    return LoadedModel(model, config, vocabulary, spec)


def _save(path, loaded):
    parts = {n: getattr(loaded, n) for n in ("config", "vocabulary", "spec")}
    folder.save(path, loaded.model, **parts)
    return path


def _load(path):
    lines = []
    return huggingface.load(path, report=lines.append), lines


def _logits(loaded, torch_model):
    """Those of both for random pairs, (B, ...) where kbert gives any."""
    rng = np.random.default_rng(11)
    shape = (5, 19)
    if loaded.spec.task == "multiple_choice":
        shape = (5, 3, 19)
    lengths = rng.integers(8, 20, shape[:-1])[..., None]
    column = np.arange(19)
    inputs = {
        "token_ids": rng.integers(5, 15, shape) * (column < lengths),
        "segment_ids": (column >= 5) & (column < lengths),
        "padding_mask": column < lengths,
    }
    inputs = {name: x.astype("int32") for name, x in inputs.items()}
    names = ("input_ids", "token_type_ids", "attention_mask")
    with torch.no_grad():
        theirs = torch_model.double()(
            **{
                name: torch.tensor(x).long()
                for name, x in zip(names, inputs.values(), strict=True)
            }
        )
    if loaded.spec.task == "reranking":  # all rows as those of one query
        inputs = {name: x[None] for name, x in inputs.items()}
    (got,) = loaded.model(inputs).values()
    got = got.numpy()
    if loaded.spec.task == "question_answering":
        want = torch.stack([theirs.start_logits, theirs.end_logits], 1).numpy()
        in_paragraph = (column >= 5) & (column < lengths - 1)
        may_be = np.broadcast_to(
            (in_paragraph | (column == 0))[:, None], (5, 2, 19)
        )
        return got[may_be], want[may_be]
    want = theirs.logits.numpy()
    if loaded.spec.task == "tagging":
        real = inputs["padding_mask"].astype(bool)
        return got[real], want[real]
    return got, want.reshape(got.shape)


def _assert_close(got, want):
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("name", HEADS)
def test_logits_are_pytorchs(name, tmp_path, vocabulary):
    head = HEADS[name]
    torch_model = _torch_folder(tmp_path, head, vocabulary)
    loaded, lines = _load(tmp_path)
    assert loaded.spec == TaskSpec(max_seq_length=20, **head.spec)
    _assert_close(*_logits(loaded, torch_model))
    count = len(list(torch_model.parameters()))
    assert lines[-1] == f"{count} tensors read."  # none left out


@pytest.mark.parametrize("name", HEADS)
def test_transformers_reads_what_is_written(name, tmp_path, vocabulary):
    head = HEADS[name]
    loaded, lines = _kbert_model(head, vocabulary), []
    huggingface.save(loaded, tmp_path / "hf", report=lines.append)
    assert lines == []
    auto = getattr(transformers, f"AutoModel{head.name}")
    torch_model, info = auto.from_pretrained(
        tmp_path / "hf", output_loading_info=True
    )
    assert {k: list(v) for k, v in info.items() if v} == {}
    assert type(torch_model).__name__ == f"Bert{head.name}"
    for field, value in head.fields.items():
        assert getattr(torch_model.config, field) == value
    _assert_close(*_logits(loaded, torch_model.eval()))
    again, _ = _load(tmp_path / "hf")
    assert again.spec == loaded.spec
    got = {v.path: v.numpy() for v in again.model.weights}
    for variable in loaded.model.weights:
        np.testing.assert_array_equal(got[variable.path], variable.numpy())


TEXTS = ["The film was not very good.", "bad", "long longer, very bad film"]


@pytest.mark.parametrize("name", ["classes", "several classes", "a number"])
def test_the_text_classification_pipeline(name, tmp_path, vocabulary):
    loaded = _kbert_model(HEADS[name], vocabulary)
    huggingface.save(loaded, tmp_path / "hf", report=print)
    pipeline = transformers.pipeline(
        "text-classification", str(tmp_path / "hf"), top_k=None
    )
    theirs = pipeline(TEXTS)
    ours = kbert.load(_save(tmp_path / "kbert", loaded)).predict(TEXTS)
    for row, answer in zip(theirs, ours, strict=True):
        want = {x["label"]: x["score"] for x in row}
        got = answer.get("probabilities") or {"LABEL_0": answer["value"]}
        assert got == pytest.approx(want, abs=1e-5)


def test_the_token_classification_pipeline(tmp_path, vocabulary):
    loaded = _kbert_model(HEADS["tags"], vocabulary)
    for variable in loaded.model.weights:  # else one tag is all words'
        if variable.path.endswith(("/beta", "bias")):
            variable.assign(np.zeros(variable.shape))
    huggingface.save(loaded, tmp_path / "hf", report=print)
    pipeline = transformers.pipeline(
        "token-classification", str(tmp_path / "hf"), ignore_labels=[]
    )
    words = ["the", "film", "was", "bad", "not", "good", "very", "long"]
    server: Any = kbert.load(_save(tmp_path / "kbert", loaded))
    (answer,) = server.predict([words])
    theirs = pipeline(" ".join(words))
    assert [token["word"] for token in theirs] == words
    assert [token["entity"] for token in theirs] == answer["tags"]
    assert len(set(answer["tags"])) > 1


def test_the_fill_mask_pipeline(tmp_path, vocabulary):
    head = Head("ForMaskedLM", {}, {"task": "masked_lm"})
    loaded = _kbert_model(head, vocabulary, hidden_act="gelu_erf")
    huggingface.save(loaded, tmp_path / "hf", report=print)
    pipeline = transformers.pipeline("fill-mask", str(tmp_path / "hf"))
    theirs = pipeline("the [MASK] was good", top_k=3)
    server: Any = kbert.load(_save(tmp_path / "kbert", loaded))
    (answer,) = server.predict(["the [MASK] was good"], top_k=3)
    want = {x["token_str"]: x["score"] for x in theirs}
    (got,) = answer["masks"]
    assert list(got) == list(want)
    assert got == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("fields", [_named("LABEL_0"), {"num_labels": 1}])
def test_one_label_without_a_problem_type_is_a_number(
    fields, tmp_path, vocabulary
):
    head = HEADS["a number"]
    _torch_folder(tmp_path, head, vocabulary)
    absent = {"id2label": None, "problem_type": None}
    _change_config(tmp_path, **{**absent, **fields})
    assert _load(tmp_path)[0].spec.task == "regression"


def _slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("labels", "mark_entities"),
    [
        # As of dbmdz/bert-large-cased-finetuned-conll03-english and others.
        (("B-LOC", "I-PER", "O", "I-LOC", "I-MISC"), True),
        _slow(("O", "B-PER", "I-PER", "E-PER", "S-PER"), True),
        _slow(("O", "B-PER", "I-PER", "L-PER", "U-PER"), True),
        _slow(("NOUN", "VERB", "ADJ", "O", "X"), False),
        (("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3", "LABEL_4"), False),
    ],
)
def test_tags_of_any_scheme_and_order(
    labels, mark_entities, tmp_path, vocabulary
):
    head = HEADS["tags"]._replace(fields=_named(*labels))
    torch_model = _torch_folder(tmp_path / "hf", head, vocabulary)
    loaded, lines = _load(tmp_path / "hf")
    assert loaded.spec.labels == labels
    _assert_close(*_logits(loaded, torch_model))
    assert any("classes of words" in x for x in lines) is not mark_entities
    pipeline = transformers.pipeline(
        "token-classification", str(tmp_path / "hf"), ignore_labels=[]
    )
    words = ["the", "film", "was", "bad", "not", "good", "very", "long"]
    theirs = [token["entity"] for token in pipeline(" ".join(words))]
    server: Any = kbert.load(_save(tmp_path / "kbert", loaded))
    assert server.predict([words])[0]["tags"] == theirs


def test_other_tags_stay_in_their_order(tmp_path, vocabulary):
    """Those of BIOES, those that lack a B-, and parts of speech."""
    _torch_folder(tmp_path, HEADS["tags"], vocabulary)
    for names in (
        ("O", "B-PER", "I-PER", "E-PER", "S-PER"),
        ("I-PER", "I-LOC", "B-LOC", "O", "I-ORG"),
        ("NOUN", "DET", "VERB", "X", "O"),
    ):
        _change_config(tmp_path, **_named(*names))
        assert _load(tmp_path)[0].spec.labels == names


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        (
            "classes",
            {"problem_type": "regression"},
            "problem_type is 'regression' with 3 labels; kbert needs one label",
        ),
        (
            "a number",
            {"problem_type": MULTI},
            f"problem_type is '{MULTI}' with 1 labels; kbert needs",
        ),
        ("classes", {"problem_type": "ranking"}, "problem_type is 'ranking'; "),
        ("tags", _named("O"), "labels are .*O.*"),
        (
            "tags",
            _named("O", "B-PER", "I-PER", "MISC", "LOC"),
            "id2label has O, B-PER, I-PER, MISC, LOC; kbert needs either tags",
        ),
        (
            "answers",
            _named("a", "b", "c"),
            "id2label has 3 labels; question an",
        ),
        ("choices", {"num_choices": 1}, ".*num_choices is 1; needs 2"),
    ],
)
def test_a_head_that_kbert_has_not_is_named(
    name, fields, message, tmp_path, vocabulary
):
    _torch_folder(tmp_path, HEADS[name], vocabulary)
    _change_config(tmp_path, **fields)
    with pytest.raises(ValueError, match=rf"config\.json: {message}") as error:
        _load(tmp_path)
    assert str(error.value).endswith(
        'To read only the encoder, set "architectures" to ["BertModel"].'
    )
    _change_config(tmp_path, architectures=["BertModel"])
    loaded, lines = _load(tmp_path)
    assert loaded.spec.task == "encoder"
    named = "qa_outputs" if name == "answers" else "classifier"
    assert f"tensors left out: {named}.bias, {named}.weight." in lines[-1]


def test_what_no_file_says(tmp_path, vocabulary, call):
    for name, flag, message, settings in (
        ("choices", "--num_choices=2", ": 4, as in SWAG", {"num_choices": 2}),
        ("answers", "--no_answer", "no_answer is false", {"no_answer": True}),
    ):
        path, output = tmp_path / name, tmp_path / f"{name} of kbert"
        _torch_folder(path, HEADS[name]._replace(fields={}), vocabulary)
        lines = _load(path)[1]
        assert any(message in line for line in lines)
        files = [f"--input={path}", f"--output={output}"]
        call("convert", "--from=huggingface", *files, flag)
        loaded = folder.load(output)
        for field, value in settings.items():
            assert getattr(loaded.spec.settings, field) == value
        for ours, theirs in zip(
            loaded.model.get_weights(),
            _load(path)[0].model.get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)
        with pytest.raises(ValueError, match="^--num_texts: .* is for 'mu|'qu"):
            files[1] += "2"
            call("convert", "--from=huggingface", *files, "--num_texts=2")


_SIGMOID = "torch.nn.modules.activation.Sigmoid"
_IDENTITY = "torch.nn.modules.linear.Identity"
_NEW, _OLD = "sentence_transformers", "sbert_ce_default_activation_function"


@pytest.mark.parametrize(
    ("stated", "activation"),
    [
        ({_NEW: {"activation_fn": _SIGMOID}}, "sigmoid"),
        ({_NEW: {"activation_fn": _IDENTITY}}, "none"),
        ({_NEW: {"version": "4.0.1"}}, "sigmoid"),
        ({_OLD: _IDENTITY}, "none"),
        ({_OLD: "torch.nn.Sigmoid"}, "sigmoid"),
    ],
)
def test_cross_encoders_are_rerankers(stated, activation, tmp_path, vocabulary):
    torch_model = _torch_folder(tmp_path, HEADS["a number"], vocabulary)
    _change_config(tmp_path, **stated)
    loaded, lines = _load(tmp_path)
    settings = {"activation": activation}
    assert loaded.spec == TaskSpec(
        task="reranking", max_seq_length=20, settings=settings
    )
    assert lines[0].startswith("A CrossEncoder of sentence-transformers")
    _assert_close(*_logits(loaded, torch_model))


def test_a_cross_encoder_with_classes_takes_pairs(tmp_path, vocabulary):
    _torch_folder(tmp_path, HEADS["classes"], vocabulary)
    _change_config(tmp_path, **{_OLD: "torch.nn.Softmax"})
    loaded, lines = _load(tmp_path)
    assert (loaded.spec.task, loaded.spec.num_texts) == ("classification", 2)
    assert "Its activation Softmax is left out." in lines


def test_an_activation_that_rerankers_lack(tmp_path, vocabulary):
    _torch_folder(tmp_path, HEADS["a number"], vocabulary)
    _change_config(tmp_path, **{_OLD: "torch.nn.modules.activation.Tanh"})
    with pytest.raises(
        ValueError, match="config.json: The activation of .* Ta"
    ):
        _load(tmp_path)


def test_a_reranker_of_a_number_and_back(tmp_path, vocabulary, capsys):
    """A head of one number is either, whatever the folder says."""
    _torch_folder(tmp_path / "hf", HEADS["a number"], vocabulary)
    reranker = kbert.Reranker.from_pretrained(tmp_path / "hf")
    assert reranker.spec.settings.activation == "sigmoid"
    reranker.save(tmp_path / "kbert")
    regressor = kbert.Regressor.from_pretrained(tmp_path / "kbert", num_texts=2)
    assert "newly initialized" not in capsys.readouterr().err
    (value,) = regressor.predict((["bad"], ["good"]))
    (score,) = reranker.predict("bad", ["good"])["scores"]
    assert score == pytest.approx(1 / (1 + np.exp(-value["value"])))


def test_settings_that_have_no_field_are_named(tmp_path, vocabulary):
    for number, (name, given, said) in enumerate(
        (
            ("several classes", {"threshold": 0.3}, ["threshold, 0.3"]),
            ("tags", {"stride": 7}, ["stride, 7"]),
            (
                "answers",
                {"no_answer": True, "threshold": 1.5},
                ["no_answer, True", "threshold, 1.5"],
            ),
        )
    ):
        head = HEADS[name]
        settings = {**head.spec["settings"], **given}
        head = head._replace(spec={**head.spec, "settings": settings})
        lines = []
        huggingface.save(
            _kbert_model(head, vocabulary),
            tmp_path / str(number),
            report=lines.append,
        )
        want = [f"config.json has no field for {x}." for x in said]
        assert lines == want


def test_what_transformers_has_no_head_for(tmp_path, vocabulary, call):
    head = Head("", {}, {"task": "summarization"})
    path = _save(tmp_path / "kbert", _kbert_model(head, vocabulary))
    files = [f"--input={path}", f"--output={tmp_path / 'hf'}"]
    for form in ("huggingface", "keras_hub"):
        with pytest.raises(
            ValueError, match="not converted: .*'summarization'"
        ):
            call("convert", f"--to={form}", *files)
    assert [entry.name for entry in tmp_path.iterdir()] == ["kbert"]
