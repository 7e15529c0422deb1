# SPDX-License-Identifier: Apache-2.0
"""Training of vectors, in Python and by the commands, and its errors."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

import kbert
from kbert import tasks
from kbert.checkpoints import folder, huggingface
from kbert.checkpoints.folder import LoadedModel
from kbert.tasks.embedding.settings import Settings

ANCHORS = ["good film", "bad film", "very long", "not"]
POSITIVES = ["the good", "was bad .", "long film .", "not not"]


@pytest.fixture
def encoder(build, tiny_config, vocabulary, tmp_path):
    """The folder of an encoder without dropout."""
    config = dataclasses.replace(
        tiny_config,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    spec = tasks.TaskSpec(task="encoder", max_seq_length=12)
    parts = {"config": config, "vocabulary": vocabulary, "spec": spec}
    folder.save(tmp_path / "encoder", build(spec), **parts)
    return tmp_path / "encoder"


def test_fit_brings_texts_together(encoder, tmp_path):
    model = kbert.Embedder.from_pretrained(encoder)
    before = model.evaluate((ANCHORS, POSITIVES))
    assert before["accuracy@1"] < 1
    model.compile(learning_rate=5e-3)
    history = model.fit((ANCHORS, POSITIVES), epochs=30, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0] / 4
    after = model.evaluate((ANCHORS, POSITIVES))
    assert after["accuracy@1"] == after["mrr@10"] == after["ndcg@10"] == 1
    model.save(tmp_path / "trained")
    again = kbert.load(tmp_path / "trained")
    assert isinstance(again, kbert.Embedder)
    assert again.spec.task == "embedding"
    np.testing.assert_array_equal(
        again.predict(ANCHORS), model.predict(ANCHORS)
    )
    # The predictions of rows: what was found for the first text of each.
    rows = model.rows((ANCHORS, POSITIVES), None)
    found = model.predict_rows(rows, batch_size=2)
    assert [row["rank"] for row in found] == [1] * 4
    assert [row["found"][0]["text"] for row in found] == POSITIVES


def test_scores_as_labels(encoder):
    """The loss is chosen by the labels; the order of cosines is learned."""
    model = kbert.Embedder.from_pretrained(encoder, dense=["8:tanh"])
    x, y = (ANCHORS, POSITIVES), [3, 1.5, 5, 4]
    model.fit(x, y, batch_size=4, epochs=1, verbose=0)
    assert model.spec.settings.loss == "cosent"
    model.compile(learning_rate=2e-2)
    model.fit(x, y, batch_size=4, epochs=40, verbose=0)
    found = model.evaluate(x, y)
    assert found["spearman"] == pytest.approx(1)
    cosines = model.predict_rows(model.rows(x, y), batch_size=4)
    vectors = [model.predict(texts) for texts in x]
    norms = [np.linalg.norm(v, axis=1) for v in vectors]
    want = (vectors[0] * vectors[1]).sum(1) / norms[0] / norms[1]
    got = [row["cosine"] for row in cosines]
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert model.predict(ANCHORS).shape == (4, 8)


def test_rows_of_another_kind_have_scores(encoder, tmp_path, call):
    """An encoder's, too, which remains one; and by the command."""
    x, y = (ANCHORS, POSITIVES), [3, 1.5, 5, 4]
    model = kbert.Embedder.from_pretrained(encoder)
    plain = model.evaluate(x, y)
    assert model.spec.task == "encoder"
    ranking = kbert.Embedder.from_pretrained(encoder, loss="ranking")
    assert ranking.evaluate(x, y) == pytest.approx(plain)
    assert ranking.spec.settings.loss == "ranking"
    rows = zip(ANCHORS, POSITIVES, y, strict=True)
    table = tmp_path / "rows.csv"
    table.write_text("a,b,y\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    said = call(
        "evaluate",
        f"--model={encoder}",
        f"--input={table}",
        "--text_columns=a,b",
        "--label_column=y",
    )
    assert f"spearman: {plain['spearman']:.4f}" in said


def test_texts_alone_are_pairs_that_dropout_tells_apart(encoder):
    for dropout, differ in ((0.0, False), (0.3, True)):
        model = kbert.Embedder.from_pretrained(encoder, dropout=dropout)
        (inputs, _), *_ = model.dataset(ANCHORS, batch_size=4, seed=0).take(1)
        vectors = np.array(
            model.keras_model(inputs, training=True)["embedding"]
        )
        pairs = vectors.reshape(4, 2, -1)
        largest = np.abs(pairs[:, 0] - pairs[:, 1]).max()
        assert bool(largest > 1e-3) == differ


def test_prompts_are_put_before_texts(encoder):
    prompts = {"query_prompt": "the ", "document_prompt": "very "}
    model = kbert.Embedder.from_pretrained(encoder, **prompts)
    plain = kbert.Embedder.from_pretrained(encoder)
    for kind, prompt in (("query", "the "), ("document", "very ")):
        want = plain.predict([prompt + text for text in ANCHORS])
        got = model.predict(ANCHORS, kind=kind)
        np.testing.assert_allclose(got, want, atol=1e-6)
    got = model.predict(ANCHORS)
    np.testing.assert_allclose(got, plain.predict(ANCHORS), atol=1e-6)
    # In training the first text is the query.
    x = (["good", "was"], ["bad", "film"])
    (inputs, _), *_ = model.dataset(x).take(1)
    ids = inputs["token_ids"].numpy()[:, 1:3].tolist()
    assert ids == [[5, 8], [11, 9], [5, 7], [11, 6]]


def test_the_commands_texts_have_their_kinds_prompt(encoder, tmp_path, call):
    model = kbert.Embedder.from_pretrained(encoder, query_prompt="the ")
    model.save(tmp_path / "model")
    table, output = tmp_path / "texts.txt", tmp_path / "vectors.npy"
    table.write_text("".join(f"{text}\n" for text in ANCHORS))
    for kind in ("query", "document"):
        call(
            "predict",
            f"--model={tmp_path / 'model'}",
            f"--input={table}",
            "--output=embeddings",
            f"--kind={kind}",
            f"--output_file={output}",
        )
        want = model.predict(ANCHORS, kind=kind)
        np.testing.assert_allclose(np.load(output), want, atol=1e-6)
    alike = model.predict(ANCHORS, kind="document") - want
    assert np.abs(alike).max() == 0  # there is no prompt of documents
    assert np.abs(model.predict(ANCHORS, kind="query") - want).max() > 1e-3


def test_equal_texts_are_counted(encoder, capsys):
    model = kbert.Embedder.from_pretrained(encoder)
    model.dataset((["good", "bad"], ["good", "film"]))
    assert "1 of 2 rows pair a text with itself" in capsys.readouterr().out
    model.dataset(ANCHORS)  # all of them, on purpose
    assert "with itself" not in capsys.readouterr().out


def test_dimensions_above_the_width_are_an_error_before_a_run(
    encoder, tmp_path, call
):
    (tmp_path / "rows.csv").write_text("q,d\na,b\nc,d\n")
    flags = [
        "--task=embedding",
        f"--init={encoder}",
        f"--train={tmp_path / 'rows.csv'}",
        "--text_columns=q,d",
        f"--output_dir={tmp_path / 'run'}",
        "--max_seq_length=12",
    ]
    with pytest.raises(ValueError, match="dimensions is 17; the vectors have"):
        call("finetune", *flags, "--dimensions=17")
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_trained_is_said(encoder):
    for settings, x, y, message in (
        ({"loss": "triplet"}, (["a"], ["b"]), None, "2 texts .* needs 3"),
        ({"loss": "cosent"}, (["a"], ["b"]), None, "no labels; .* needs them"),
        ({"loss": "ranking"}, (["a"], ["b"]), [1], "labels; .* needs none"),
        ({"loss": "cosine"}, (["a"], ["b"]), [2], "Row 1: label 2; needs -1"),
        ({}, (["a"], ["b"]), None, "1 rows; the loss ranking compares rows"),
        ({}, (["a", "b"], ["b", " "]), None, "Row 2: an empty text"),
        ({}, (["a"], ["b"]), ["x"], "Row 1: label 'x'; needs a number"),
        ({}, (["a"], ["b"]), [np.nan], "Row 1: label nan; needs a label"),
        ({}, (["a", 3], ["b", "c"]), None, "Row 2: text 3"),
    ):
        model = kbert.Embedder.from_pretrained(encoder, **settings)
        with pytest.raises(ValueError, match=message):
            model.fit(x, y, batch_size=2, verbose=0)
    model = kbert.Embedder.from_pretrained(encoder)
    with pytest.raises(ValueError, match="sample_weight, .* rows with labels"):
        model.fit((ANCHORS, POSITIVES), sample_weight=[1, 2, 0, 1])
    model = kbert.Embedder.from_pretrained(encoder, layer=1)
    with pytest.raises(ValueError, match="layer=1: needs -1"):
        model.fit((ANCHORS, POSITIVES))
    with pytest.raises(ValueError, match="kind is 'title'; needs one of"):
        model.predict(ANCHORS, kind="title")


@pytest.fixture
def beir(tmp_path):
    """A corpus with two texts that nothing asks for."""
    root = tmp_path / "beir"
    (root / "qrels").mkdir(parents=True)
    texts = [*POSITIVES, "was was", "film ."]
    for name, rows in (("corpus", texts), ("queries", ANCHORS)):
        lines = [
            json.dumps({"_id": f"{name[0]}{i}", "text": text})
            for i, text in enumerate(rows)
        ]
        (root / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    lines = [f"q{i}\tc{i}\t1\n" for i in range(4)]
    head = "query-id\tcorpus-id\tscore\n"
    (root / "qrels" / "test.tsv").write_text(head + "".join(lines))
    return root / "qrels" / "test.tsv"


def test_the_commands(encoder, tmp_path, call, beir):
    table, run = tmp_path / "rows.csv", tmp_path / "run"
    rows = zip(ANCHORS, POSITIVES, strict=True)
    table.write_text("q,d\n" + "".join(f"{a},{b}\n" for a, b in rows))
    said = call(
        "finetune",
        "--task=embedding",
        f"--init={encoder}",
        f"--train={table}",
        "--text_columns=q,d",
        f"--dev={beir}",
        f"--output_dir={run}",
        "--max_seq_length=12",
        "--epochs=30",
        "--batch_size=4",
        "--accumulate_steps=2",
        "--learning_rate=5e-3",
        "--pooling=cls",
        "--matryoshka=16,4",
    )
    assert "newly initialized" not in said
    settings = folder.load(run / "model").spec.settings
    assert settings == Settings(
        pooling="cls", matryoshka=(16, 4), loss="ranking"
    )
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["accuracy@1"] == evaluation["ndcg@10"] == 1
    assert evaluation["metric"] == "ndcg@10"
    with pytest.raises(ValueError, match="batch_size is 1; rows are compared"):
        kbert.load(run / "model").fit((ANCHORS, POSITIVES), batch_size=1)
    model = f"--model={run / 'model'}"
    scores, report = tmp_path / "scores.json", tmp_path / "report"
    call(
        "evaluate",
        model,
        f"--input={beir}",
        f"--output={scores}",
        f"--report_dir={report}",
    )
    found = json.loads(scores.read_text())
    assert found["mrr@10"] == found["map@100"] == 1
    vectors = tmp_path / "vectors.npy"
    call(
        "predict",
        model,
        f"--input={table}",
        "--text_columns=q",
        "--output=embeddings",
        f"--output_file={vectors}",
    )
    want = kbert.load(run / "model").predict(ANCHORS)
    np.testing.assert_allclose(np.load(vectors), want, atol=1e-6)
    with pytest.raises(ValueError, match="'embedding': it gives a text a vec"):
        call("predict", model, "--text=film")
    with pytest.raises(ValueError, match="--matryoshka=4,x: needs whole numb"):
        call(
            "finetune",
            "--task=embedding",
            f"--init={encoder}",
            f"--train={table}",
            "--text_columns=q,d",
            f"--output_dir={run}",
            "--max_seq_length=12",
            "--matryoshka=4,x",
        )


def test_a_run_takes_the_initial_models_pooling(
    encoder, tmp_path, tiny_config, vocabulary
):
    data = kbert.tasks.rows.DataOptions(
        text_columns=["q", "d"], settings={"normalize": False}
    )
    (tmp_path / "rows.csv").write_text("q,d\na,b\nc,d\n")
    rows = kbert.Embedder.read(str(tmp_path / "rows.csv"), data)
    spec = kbert.Embedder.new_spec(rows, data)
    initial = tasks.TaskSpec(
        task="classification",
        max_seq_length=9,
        labels=("a", "b"),
        embedding={"pooling": "max", "normalize": True},
    )
    got = kbert.Embedder.spec_from(spec, initial, data).settings
    assert got == Settings(pooling="max", normalize=False, loss="ranking")


@pytest.mark.parametrize(
    "settings",
    [
        Settings(dense=("8:tanh", "6:linear"), normalize=True),
        Settings(query_prompt="the ", document_prompt="very "),
        Settings(pooling="mean_sqrt_len_tokens", dimensions=5),
    ],
)
def test_sentence_transformers_folder_and_back(
    settings, build, tiny_config, vocabulary, tmp_path
):
    spec = tasks.TaskSpec(task="embedding", max_seq_length=9, settings=settings)
    model = kbert.Embedder(
        LoadedModel(build(spec), tiny_config, vocabulary, spec)
    )
    huggingface.save(model.loaded, tmp_path / "st", report=print)
    again = kbert.Embedder.from_pretrained(tmp_path / "st")
    assert again.spec.max_seq_length == 9
    for kind in (None, "query", "document"):
        want = model.predict(ANCHORS, kind=kind)
        got = again.predict(ANCHORS, kind=kind)
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_dense_layers_larger_than_the_file_are_not_built(encoder, tmp_path):
    model = kbert.Embedder.from_pretrained(encoder, dense=["8:tanh"])
    model.save(tmp_path / "model")
    file = tmp_path / "model" / "task.json"
    fields = json.loads(file.read_text())
    fields["settings"]["dense"] = ["99999:tanh"] * 1000  # 40 TB
    file.write_text(json.dumps(fields))
    sums = tmp_path / "model" / "model.weights.h5.sha256"
    weights = tmp_path / "model" / "model.weights.h5"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    sums.write_text(f"{digest}  {weights.name}\n")
    with pytest.raises(ValueError, match="weights; the encoder of the config,"):
        kbert.load(tmp_path / "model")
