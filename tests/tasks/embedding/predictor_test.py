# SPDX-License-Identifier: Apache-2.0
"""Vectors of texts: live and from the command."""

import numpy as np
import pytest

import kbert
from kbert import models, tasks
from kbert.checkpoints import folder
from kbert.tasks.predictor import make_predictor

TEXTS = ["good", "The film was not very good.", "", "bad bad film " * 9]
# [CLS] and [SEP] are 2 and 3; the last is cut to 12.
IDS = [
    [2, 8, 3],
    [2, 5, 6, 7, 10, 11, 8, 14, 3],
    [2, 3],
    [2, *([9, 9, 6] * 4)[:10], 3],
]


def _save(path, config, vocabulary, task="encoder", labels=()):
    spec = tasks.TaskSpec(task=task, max_seq_length=12, labels=labels)
    model = tasks.build(config, spec)
    rng = np.random.default_rng(2)
    for variable in model.weights:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    folder.save(path, model, config=config, vocabulary=vocabulary, spec=spec)
    return path


def test_vectors_are_means_over_a_texts_tokens(
    tmp_path, tiny_config, vocabulary
):
    path = _save(tmp_path / "model", tiny_config, vocabulary)
    encoder = folder.load(path).model
    lower = models.build_features(tiny_config, 1)
    folder.copy_weights(encoder, lower, fewer_blocks=True)
    want, first = [], []
    for ids in IDS:  # each by itself: no padding
        token_ids = np.array([ids])
        inputs = {
            "token_ids": token_ids,
            "segment_ids": np.zeros_like(token_ids),
            "padding_mask": np.ones_like(token_ids),
        }
        mean = encoder(inputs)["sequence"][0].numpy().mean(0)
        want.append(mean / np.sqrt((mean * mean).sum()))
        first.append(lower(inputs)["sequence"][0, 0].numpy())
    server = kbert.Embedder.from_pretrained(path, normalize=True)
    np.testing.assert_allclose(server.predict(TEXTS), want, atol=1e-5)
    alone = [server.predict([text])[0] for text in TEXTS]
    np.testing.assert_allclose(alone, want, atol=1e-5)
    server = kbert.Embedder.from_pretrained(path, pooling="cls", layer=1)
    np.testing.assert_allclose(server.predict(TEXTS), first, atol=1e-5)


def test_a_fine_tuned_model_pools_as_its_encoder_did(
    tmp_path, tiny_config, vocabulary
):
    how = {"pooling": "cls", "normalize": True}
    path = _save(tmp_path / "model", tiny_config, vocabulary)
    loaded = folder.load(path)
    want = kbert.Embedder.from_pretrained(path, **how).predict(TEXTS)
    spec = tasks.TaskSpec(task="regression", max_seq_length=12, embedding=how)
    model = tasks.build(tiny_config, spec)
    folder.copy_weights(loaded.model, model)
    parts = {"config": tiny_config, "vocabulary": vocabulary, "spec": spec}
    folder.save(tmp_path / "trained", model, **parts)
    server = kbert.Embedder.from_pretrained(tmp_path / "trained")
    np.testing.assert_allclose(server.predict(TEXTS), want, atol=1e-6)
    server = kbert.Embedder.from_pretrained(
        tmp_path / "trained", normalize=False
    )
    assert np.linalg.norm(server.predict(TEXTS), axis=1).max() > 1.1


def test_the_command(tmp_path, tiny_config, vocabulary, call):
    path = _save(
        tmp_path / "model",
        tiny_config,
        vocabulary,
        "classification",
        ("a", "b"),
    )
    table, output = tmp_path / "texts.csv", tmp_path / "vectors.npy"
    table.write_text("t\n" + "".join(f'"{text}"\n' for text in TEXTS))
    flags = [f"--model={path}", f"--input={table}", "--text_columns=t"]
    flags += ["--output=embeddings"]
    how = {"pooling": "cls", "normalize": True, "layer": -2}
    given = [f"--{name}={value}" for name, value in how.items()]
    call("predict", *flags, *given, f"--output_file={output}")
    server = kbert.Embedder.from_pretrained(path, **how)
    got = np.load(output)
    np.testing.assert_allclose(got, server.predict(TEXTS), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, rtol=1e-5)
    for more, message in (
        ([], "^--output=embeddings: needs an --output_file too"),
        (["--output_file=a", "--layer=3"], "layers is 3; needs"),
        (["--output_file=a", "--top_k=3"], "^--top_k: .*fills in no"),
        (["--output=answers", "--normalize"], "^--normalize: only for --outp"),
    ):
        with pytest.raises(ValueError, match=message):
            call("predict", *flags, *more)


def test_an_encoder_asked_for_answers_names_its_vectors(
    tmp_path, tiny_config, vocabulary, call
):
    path = _save(tmp_path / "model", tiny_config, vocabulary)
    message = r"'encoder': it gives a text a vector \(.*--output=embeddings"
    with pytest.raises(ValueError, match=f"model: .*{message}"):
        call("predict", f"--model={path}", "--text=film")
    found = folder.load(path)
    with pytest.raises(ValueError, match=message):
        make_predictor(
            found.model, vocabulary=found.vocabulary, spec=found.spec
        )
