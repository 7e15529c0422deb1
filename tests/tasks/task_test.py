# SPDX-License-Identifier: Apache-2.0
"""The public classes: what a Keras or Hugging Face user types."""

import dataclasses
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert import tasks
from kbert.checkpoints import folder
from kbert.tasks import TaskSpec, inputs

TEXTS = ["the film was good", "the film was bad", "good .", "not very long ."]
LABELS = ["good", "bad", "good", "bad"]


@pytest.fixture
def encoder(tmp_path, tiny_config, vocabulary):
    """A function of a path: writes an encoder of one layer, without dropout."""
    config = dataclasses.replace(
        tiny_config,
        num_hidden_layers=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    spec = TaskSpec(task="encoder", max_seq_length=24)
    folder.save(
        tmp_path / "encoder",
        tasks.build(config, spec),
        config=config,
        vocabulary=vocabulary,
        spec=spec,
    )
    return tmp_path / "encoder"


@pytest.fixture
def classifier(encoder):
    return kbert.Classifier.from_pretrained(encoder, labels=["bad", "good"])


# For each class: arguments of from_pretrained, texts, labels, and a wrong
# label with what is said of it.
CASES = {
    "Classifier": (
        {"labels": ["bad", "good"]},
        TEXTS,
        LABELS,
        "fair",
        r"Row 1: label 'fair' is not one of \['bad', 'good'\]",
    ),
    "Regressor": (
        {"num_texts": 2},
        (TEXTS, TEXTS[::-1]),
        [1, 0.5, 0, -1],
        "high",
        "Row 1: label 'high'; needs a number",
    ),
    "Tagger": (
        {"labels": ["O", "B-x", "I-x"]},
        [text.split() for text in TEXTS],
        [["O", "B-x", "I-x", "O"]] * 2 + [["O", "O"], ["O"] * 4],
        ["B-y"] * 4,
        r"Row 1: tag 'B-y' is not one of \['O', 'B-x', 'I-x'\]",
    ),
    "QuestionAnswerer": (
        {"no_answer": True, "max_query_length": 6, "stride": 4},
        (["good ."] * 4, TEXTS),
        [
            {"text": ["film"], "answer_start": [4]},
            [{"text": "bad", "answer_start": 13}],
            None,
            {"text": np.array(["very"]), "answer_start": np.array([4])},
        ],
        {"text": ["film"], "answer_start": [5]},
        "Row 1: the context has not 'film' at character 5",
    ),
    "MultipleChoice": (
        {"num_choices": 2},
        (TEXTS, [["good", "bad"]] * 4),
        [0, 1, 0, 1],
        2,
        "Row 1: label 2; needs the index of one of 2 choices, from 0",
    ),
    "Reranker": (
        {},
        (["good"] * 4, TEXTS),
        [1, 0, 0.5, 0],
        "high",
        "Row 1: label 'high'; needs a number",
    ),
    "Summarizer": (
        {"num_sentences": 1},
        [TEXTS, TEXTS[:2], TEXTS[1:], TEXTS[::-1]],
        [[1, 0, 0, 0], [1, 0], [0, 1, 0], [0, 0, 0, 1]],
        [2, 0, 0, 0],
        r"Row 1: labels \[2, 0, 0, 0\]; needs 0 or 1 for each of 4",
    ),
}


# What is of one of them alone takes its graphs' time to trace.
_QUICK = ("Classifier",)


@pytest.mark.parametrize(
    "name",
    [
        name if name in _QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in CASES
    ],
)
def test_each_class_from_an_encoder_to_a_copy(name, encoder, tmp_path, capsys):
    arguments, x, y, wrong, message = CASES[name]
    if name == "Summarizer":
        pytest.importorskip("rouge_score")
    made = getattr(kbert, name).from_pretrained(encoder, **arguments)
    said = capsys.readouterr().err
    assert re.search(r"encoder: kbert model; newly initialized: \w+", said)
    assert said.count("\n") == 1
    with pytest.raises(ValueError, match=message):
        made.fit(x, [wrong, *y[1:]])
    loss = "value_loss" if name == "Regressor" else "loss"
    before = made.evaluate(x, y)[loss]
    made.compile(learning_rate=1e-2)
    history = made.fit(x, y, batch_size=4, epochs=6, verbose=0).history
    after = made.evaluate(x, y)
    assert after[loss] < before
    assert len(history["loss"]) == 6
    found = made.predict(x)
    json.dumps(found)
    made.save(tmp_path / "copy")
    numbers = sum(w.size for w in made.keras_model.get_weights())
    size = (tmp_path / "copy/model.weights.h5").stat().st_size
    assert size < 4 * numbers + 200_000  # no optimizer's slots
    again = kbert.load(tmp_path / "copy")
    assert type(again) is type(made)
    assert again.predict(x) == found


def test_a_head_that_is_there_is_kept(classifier, encoder, tmp_path, capsys):
    classifier.save(tmp_path / "model")
    want = classifier.predict(TEXTS)
    capsys.readouterr()
    same = kbert.Classifier.from_pretrained(tmp_path / "model")
    assert capsys.readouterr().err == f"{tmp_path}/model: kbert model.\n"
    assert same.predict(TEXTS) == want
    other = kbert.Classifier.from_pretrained(
        tmp_path / "model", labels=["a", "b", "c"], max_seq_length=9
    )
    assert "newly initialized: classifier" in capsys.readouterr().err
    assert other.spec.labels == ("a", "b", "c")
    assert other.spec.max_seq_length == 9
    regressor = kbert.Regressor.from_pretrained(tmp_path / "model")
    said = capsys.readouterr().err
    assert "newly initialized: regressor; left over: classifier." in said
    np.testing.assert_array_equal(
        regressor.keras_model.get_layer("token_embedding").get_weights()[0],
        classifier.keras_model.get_layer("token_embedding").get_weights()[0],
    )


class _Losses(keras.callbacks.Callback):
    """The loss of each step: Keras shows the mean since an epoch began."""

    def __init__(self):
        super().__init__()
        self.losses, self._sum = [], 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._sum = 0.0

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append((batch + 1) * logs["loss"] - self._sum)
        self._sum = (batch + 1) * logs["loss"]


def test_fit_takes_the_steps_of_the_command(encoder, call, tmp_path):
    """Twenty steps: same batches, same losses."""
    rng = np.random.default_rng(0)
    words = [*"the film was good bad not very long .".split()]
    texts = [" ".join(rng.choice(words, n)) for n in rng.integers(2, 9, 40)]
    labels = ["good" if "good" in text else "bad" for text in texts]
    table = "".join(f"{a}\t{b}\n" for a, b in zip(texts, labels, strict=True))
    (tmp_path / "train.tsv").write_text("text\tlabel\n" + table, "utf-8")
    made = kbert.Classifier.from_pretrained(encoder, labels=["bad", "good"])
    made.save(tmp_path / "init")  # so that both have the same head
    call(
        *("finetune", f"--init={tmp_path}/init", "--text_columns=text"),
        *(f"--train={tmp_path}/train.tsv", f"--output_dir={tmp_path}/out"),
        *("--batch_size=4", "--epochs=2", "--log_every=1", "--seed=3"),
        *("--learning_rate=1e-2", "--max_seq_length=24"),
    )
    lines = (tmp_path / "out/history.jsonl").read_text("utf-8").splitlines()
    want = [log["loss"] for log in map(json.loads, lines) if "loss" in log]
    losses = _Losses()
    made.compile(learning_rate=1e-2)
    made.fit(
        *(texts, labels),
        batch_size=4,
        epochs=2,
        seed=3,
        callbacks=[losses],
        verbose=0,
    )
    assert len(want) == len(losses.losses) == 20
    np.testing.assert_allclose(losses.losses, want, rtol=1e-5, atol=2e-6)


def test_callbacks_of_keras(classifier, tmp_path):
    """A rate of 0 from the second epoch on: the loss stands still, and ends."""
    classifier.compile(keras.optimizers.Adam(1e-2))
    history = classifier.fit(
        *(TEXTS, LABELS),
        batch_size=2,
        epochs=9,
        validation_data=(TEXTS[:2], LABELS[:2]),
        callbacks=[
            keras.callbacks.LearningRateScheduler(
                lambda epoch: 1e-2 if epoch == 0 else 0.0
            ),
            keras.callbacks.EarlyStopping(
                "val_loss", patience=2, min_delta=1e-7
            ),
            keras.callbacks.ModelCheckpoint(
                tmp_path / "{epoch}.weights.h5", save_weights_only=True
            ),
            keras.callbacks.TensorBoard(tmp_path / "logs"),
        ],
        verbose=0,
    ).history
    assert history["learning_rate"] == pytest.approx([1e-2, 0, 0])
    assert len(history["val_loss"]) == len(history["val_accuracy"]) == 3
    assert history["val_loss"][1] == pytest.approx(history["val_loss"][0])
    assert len(list(tmp_path.glob("*.weights.h5"))) == 3
    assert list(tmp_path.glob("logs/*/events*"))
    want = classifier.predict(TEXTS)
    for layer in classifier.keras_model.layers:
        layer.set_weights([0 * w for w in layer.get_weights()])
    assert classifier.predict(TEXTS) != want
    classifier.keras_model.load_weights(tmp_path / "3.weights.h5")
    assert classifier.predict(TEXTS) == want


def test_weights_of_rows_and_of_classes(classifier):
    """Of a step that changes nothing the loss is known by hand."""
    found = classifier.predict(TEXTS)
    losses = np.array(
        [
            -np.log(row["probabilities"][label])
            for row, label in zip(found, LABELS, strict=True)
        ]
    )
    for given, weights in (
        ({"sample_weight": [0, 1, 2, 3]}, [0, 1, 2, 3]),
        ({"class_weight": {"bad": 3, "good": 0.5}}, [0.5, 3, 0.5, 3]),
        (
            {
                "sample_weight": np.array([1.0, 1, 0, 1]),
                "class_weight": {"bad": 3, "good": 0.5},
            },
            [0.5, 3, 0, 3],
        ),
    ):
        classifier.compile(keras.optimizers.SGD(0.0))
        history = classifier.fit(
            *(TEXTS, LABELS), batch_size=4, epochs=1, verbose=0, **given
        ).history
        want = np.mean(losses * weights)
        assert history["loss"][0] == pytest.approx(want, rel=1e-5)


@pytest.mark.slow
def test_under_a_strategy(encoder):
    """Two replicas take the step of one device, of the mean over all rows."""
    losses = []
    for strategy in (
        tf.distribute.get_strategy(),
        tf.distribute.MirroredStrategy(
            tf.config.list_logical_devices("CPU"),
            tf.distribute.ReductionToOneDevice(),
        ),
    ):
        with strategy.scope():
            made = kbert.Classifier.from_pretrained(
                encoder, labels=["bad", "good"]
            )
        head = made.keras_model.get_layer("classifier")
        head.set_weights([np.full_like(w, 0.1) for w in head.get_weights()])
        head.kernel.assign(np.linspace(-1, 1, 32).reshape(16, 2))
        made.compile(learning_rate=1e-2)
        made.fit(TEXTS, LABELS, batch_size=4, epochs=3, verbose=0)
        losses.append(made.evaluate(TEXTS, LABELS)["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_texts_of_any_kind(encoder):
    """Lists, arrays and datasets give the same batches."""
    made = kbert.Classifier.from_pretrained(encoder, labels=[0, 1], num_texts=2)
    labels = [1, 0, 1, 0]
    other = TEXTS[::-1]
    dataset = tf.data.Dataset.from_tensor_slices(((TEXTS, other), labels))
    kinds = [
        ((TEXTS, other), labels),
        ((np.array(TEXTS), np.array(other, object)), np.array(labels)),
        (([t.encode() for t in TEXTS], tuple(other)), ["1", "0", "1", "0"]),
        (dataset, None),
    ]
    batches = [
        tf.nest.map_structure(lambda x: x.tolist(), list(dataset))
        for dataset in (
            made.dataset(x, y).as_numpy_iterator() for x, y in kinds
        )
    ]
    assert batches[0][0][0]["segment_ids"][0][-2] == 1
    assert all(batch == batches[0] for batch in batches[1:])
    singles = kbert.Classifier.from_pretrained(encoder, labels=[0, 1])
    rows = tf.data.Dataset.from_tensor_slices((TEXTS, labels))
    got, want = singles.dataset(rows), singles.dataset(TEXTS, labels)
    for one, two in zip(got, want, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, two)


def test_pandas_columns(classifier):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"text": TEXTS, "label": LABELS})[1:]
    (got,) = classifier.dataset(table["text"], table["label"])
    (want,) = classifier.dataset(TEXTS[1:], LABELS[1:])
    tf.nest.map_structure(np.testing.assert_array_equal, got, want)
    table.loc[2, "label"] = None
    with pytest.raises(ValueError, match="Row 2: label .*; needs a label"):
        classifier.fit(table["text"], table["label"])


def test_a_validation_split_by_the_texts(classifier):
    """Rows of equal texts stay on one side; the share is about as given."""
    texts = [f"the film {i // 2}" for i in range(2000)]
    numbers = list(range(2000))
    (x, y, weight), (val_x, val_y) = inputs.split(texts, numbers, None, 0.2)
    assert weight is None
    assert sorted([*y, *val_y]) == numbers
    assert not {*x} & {*val_x}
    assert [texts[i] for i in val_y] == val_x
    assert 0.15 < len(val_y) / 2000 < 0.25
    again = inputs.split(texts[::-1], numbers[::-1], None, 0.2)[1]
    assert {*again[0]} == {*val_x}
    history = classifier.fit(
        *(texts[:20], ["good", "bad"] * 10),
        validation_split=0.5,
        epochs=1,
        verbose=0,
    ).history
    assert "val_loss" in history


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.fit(TEXTS), "y is missing; needs a label for each row"),
        (lambda m: m.fit(TEXTS, LABELS[1:]), "Got 3 labels for 4 rows"),
        (lambda m: m.fit("good", ["good"]), "Got 'good'; needs a list"),
        (lambda m: m.fit([], []), "Got no rows"),
        (
            lambda m: m.fit((TEXTS, TEXTS), LABELS),
            "Got 2 texts a row; the model takes 1",
        ),
        (
            lambda m: m.fit(TEXTS, LABELS, class_weight={"good": 1}),
            "Row 2: class_weight has no weight for the label 'bad'",
        ),
        (
            lambda m: m.fit(TEXTS, LABELS, sample_weight=[1, -1, 1, 1]),
            "Row 2: weight -1.0; needs 0 or more",
        ),
        (
            lambda m: m.fit(TEXTS, LABELS, validation_split=1.0),
            "validation_split=1.0: needs more than 0, below 1",
        ),
        (
            lambda m: m.fit(TEXTS, LABELS, validation_data=TEXTS),
            r"validation_data: needs \(x, y\)",
        ),
        (
            lambda m: m.fit(
                tf.data.Dataset.from_tensors(("good", "good")).repeat()
            ),
            r"The Dataset has no end; needs .take\(rows\)",
        ),
        (lambda m: m.predict("good"), "Got 'good'; needs a list"),
        (lambda m: m.predict((["a"], ["b"])), "this model takes 1: text"),
        (lambda m: m.predict(["a", 3]), "Text 2: text is 3; needs a text"),
        (
            lambda m: m.fit([None, *TEXTS[1:]], LABELS),
            "Row 1: text None; needs a text",
        ),
    ],
)
def test_wrong_input_is_named(classifier, call, message):
    with pytest.raises(ValueError, match=message):
        call(classifier)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Classifier", {}, "it has no head for classification; name the lab"),
        ("Regressor", {"labels": ["a"]}, r"labels=\['a'\]: regression has non"),
        ("Classifier", {"labels": ["a"]}, "needs two or more"),
        (
            "Classifier",
            {"labels": ["a", "b"], "multi_labels": True},
            "multi_labels is no setting of this task",
        ),
        ("Tagger", {"labels": ["O", "x"], "stride": 0}, "stride is 0"),
        ("Regressor", {"max_seq_length": 25}, "takes at most 24"),
        ("Regressor", {"lower_case": False}, "lower_case is True; needs"),
        ("Embedder", {"layer": 3}, "layers is 3"),
        ("Embedder", {"pooling": "sum"}, 'pooling is "sum"'),
        ("MultipleChoice", {}, "num_choices"),
        ("Reranker", {"activation": "tanh"}, "activation is 'tanh'; needs"),
    ],
)
def test_wrong_arguments_are_named(encoder, name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(kbert, name).from_pretrained(encoder, **arguments)


def test_what_is_no_model_is_named(tmp_path):
    with pytest.raises(ValueError, match="nothing: no such folder"):
        kbert.load(tmp_path / "nothing")
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(ValueError) as error:
        kbert.Classifier.from_pretrained(tmp_path)
    said = str(error.value)
    assert "it has notes.txt" in said
    for needed in ("task.json", "config.json", "modules.json", ".ckpt.index"):
        assert needed in said


def test_vectors_are_an_array(encoder):
    embedder = kbert.Embedder.from_pretrained(encoder)
    vectors = embedder.predict(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((4, 16), np.float32)
    assert embedder.predict([]).shape == (0, 16)


@pytest.mark.slow
def test_the_export_answers_as_the_model(classifier, tmp_path):
    classifier.save(tmp_path / "model")
    path = kbert.load(tmp_path / "model").export(tmp_path / "serving")
    assert path == str(tmp_path / "serving/1")
    served = tf.saved_model.load(path).signatures["serving_default"]
    got = served(text=tf.constant(TEXTS))["probabilities"].numpy()
    want = [[*r["probabilities"].values()] for r in classifier.predict(TEXTS)]
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.fixture
def masked_lm(tiny_config, vocabulary, tmp_path):
    """A function of a task: a model with these outputs of pre-training."""
    config = dataclasses.replace(
        tiny_config,
        num_hidden_layers=1,
        initializer_range=0.2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )

    def make(task):
        spec = TaskSpec(task=task, max_seq_length=12)
        parts = {"config": config, "vocabulary": vocabulary, "spec": spec}
        folder.save(tmp_path / task, tasks.build(config, spec), **parts)
        return kbert.load(tmp_path / task)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("task", ["pretraining", "masked_lm"])
def test_a_masked_lm_learns_texts(masked_lm, task):
    """Of one sentence over and over, each word follows from the others."""
    made = masked_lm(task)
    texts = ["the film was not very good ."] * 32
    before = made.evaluate(texts)
    assert made.evaluate(texts) == before  # masked in the same way
    assert before["mlm_perplexity"] == pytest.approx(np.exp(before["mlm_loss"]))
    made.compile(keras.optimizers.Adam(1e-2))
    made.fit(texts, batch_size=16, epochs=30, verbose=0)
    assert made.evaluate(texts)["mlm_accuracy"] > 0.9
    (found,) = made.predict(["the [MASK] was not very good ."])
    assert next(iter(found["masks"][0])) == "film"


def test_masks_differ_by_epoch_and_hide_a_share(masked_lm):
    made = masked_lm("masked_lm")
    texts = ["the film was not very good ."] * 64
    batches = made.dataset(texts, batch_size=64, seed=1).take(2)
    first, second = (
        (inputs["mask_positions"].numpy(), weights["mlm_logits"].numpy())
        for inputs, _, weights in batches
    )
    assert (first[0] != second[0]).any()
    # Nine tokens with [CLS] and [SEP], 15 % of them: one a row.
    assert ((first[1] > 0).sum(axis=1) == 1).all()
    assert first[1].mean() == pytest.approx(1)


def test_next_sentences(masked_lm):
    made = masked_lm("pretraining")
    pairs = (["the film", "good ."], ["was bad .", "the film"])
    found = made.next_sentence(pairs)
    alone = masked_lm("next_sentence")
    alone.keras_model.set_weights(
        [
            next(w for w in made.keras_model.weights if w.path == v.path)
            for v in alone.keras_model.weights
        ]
    )
    want = [row["probability"] for row in alone.predict(pairs)]
    assert found == pytest.approx(want)
    assert 0 < min(found) < max(found) < 1
    with pytest.raises(ValueError, match="no next-sentence output"):
        masked_lm("masked_lm").next_sentence(pairs)
    with pytest.raises(ValueError, match="no masked-LM output to train"):
        alone.fit(["good ."])
    with pytest.raises(ValueError, match="y: masked texts have no labels"):
        made.fit(["good ."], ["good"])
