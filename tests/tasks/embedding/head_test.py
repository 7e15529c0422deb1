# SPDX-License-Identifier: Apache-2.0
"""The losses of vectors against PyTorch's functions, and the model."""

import dataclasses

import numpy as np
import pytest
from keras import ops

from kbert import models
from kbert.tasks.embedding.head import EmbeddingLoss, build_embedder
from kbert.tasks.embedding.settings import Settings

torch = pytest.importorskip("torch")
functional = torch.nn.functional

ROWS, WIDTH = 5, 6


def _vectors(texts):
    rng = np.random.default_rng(texts)
    return rng.normal(size=(ROWS * texts, WIDTH)).astype("float32")


def _columns(vectors, texts):
    return torch.tensor(vectors).reshape(ROWS, texts, WIDTH).unbind(1)


LABELS = np.float32([0.1, 0.9, 0.5, 0.5, -0.3])


def _ranking(columns, symmetric=False, scale=20.0):
    anchors, *others = [functional.normalize(x) for x in columns]
    scores = scale * anchors @ torch.cat(others).T
    loss = functional.cross_entropy(scores, torch.arange(ROWS))
    if symmetric:
        back = scale * others[0] @ anchors.T
        back = functional.cross_entropy(back, torch.arange(ROWS))
        loss = (loss + back) / 2
    return loss


def _cosent(columns):
    cosines = 20 * functional.cosine_similarity(*columns)
    terms = [torch.tensor(0.0)]
    for high in range(ROWS):
        for low in range(ROWS):
            if LABELS[high] > LABELS[low]:
                terms.append(cosines[low] - cosines[high])
    return torch.logsumexp(torch.stack(terms), 0)


def _cosine(columns):
    cosines = functional.cosine_similarity(*columns)
    return functional.mse_loss(cosines, torch.tensor(LABELS))


def _triplet(columns):
    return functional.triplet_margin_loss(*columns, margin=2.5)


def _margin_mse(columns):
    query, positive, negative = columns
    margins = (query * positive).sum(1) - (query * negative).sum(1)
    return functional.mse_loss(margins, torch.tensor(LABELS))


@pytest.mark.parametrize(
    ("texts", "loss", "expected"),
    [
        (2, EmbeddingLoss("ranking"), _ranking),
        (4, EmbeddingLoss("ranking", scale=5.0), lambda x: _ranking(x, 0, 5.0)),
        (
            3,
            EmbeddingLoss("ranking", symmetric=True),
            lambda x: _ranking(x, True),
        ),
        (2, EmbeddingLoss("cosent"), _cosent),
        (2, EmbeddingLoss("cosine"), _cosine),
        (3, EmbeddingLoss("triplet", margin=2.5), _triplet),
        (3, EmbeddingLoss("margin_mse"), _margin_mse),
    ],
)
def test_losses_are_those_of_pytorch(texts, loss, expected):
    vectors = _vectors(texts)
    got = np.mean(loss.call(LABELS, ops.convert_to_tensor(vectors)))
    want = expected(_columns(vectors, texts)).item()
    assert got == pytest.approx(want, rel=1e-5)
    copy = EmbeddingLoss.from_config(loss.get_config())
    assert np.mean(copy.call(LABELS, vectors)) == pytest.approx(want, rel=1e-5)


def test_matryoshka_sums_the_losses_of_shorter_vectors():
    vectors = _vectors(3)
    loss = EmbeddingLoss("ranking", matryoshka=(6, 2))
    got = np.mean(loss.call(LABELS, ops.convert_to_tensor(vectors)))
    columns = _columns(vectors, 3)
    want = _ranking(columns) + _ranking([x[:, :2] for x in columns])
    assert got == pytest.approx(want.item(), rel=1e-5)


def test_pooling_by_the_root_of_the_length():
    sequence = np.float32([[[1, 2], [3, 4], [9, 9]], [[5, 6], [9, 9], [9, 9]]])
    mask = np.int32([[1, 1, 0], [1, 0, 0]])
    got = models.pool(sequence, mask, "mean_sqrt_len_tokens")
    want = [[4 / 2**0.5, 6 / 2**0.5], [5, 6]]
    np.testing.assert_allclose(got, want, rtol=1e-6)


def _by_hand(model, batch, settings):
    """The vectors, from the encoder's vectors of tokens."""
    encoder = models.encoder_of(model)
    inputs = {name: batch[name] for name in encoder.input}
    sequence = np.array(encoder(inputs)["sequence"])
    mask = batch["padding_mask"][..., None] > 0
    vectors = {
        "cls": sequence[:, 0],
        "mean": (sequence * mask).sum(1) / mask.sum(1),
    }[settings.pooling]
    for index, (_, name) in enumerate(settings.dense_layers):
        layer = model.get_layer(f"embedding_dense_{index}")
        vectors = vectors @ layer.kernel.numpy() + layer.bias.numpy()
        vectors = {"tanh": np.tanh, "linear": np.array}[name](vectors)
    vectors = vectors[:, : settings.dimensions]
    if settings.normalize:
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = vectors / norms
    return vectors


@pytest.mark.parametrize(
    "settings",
    [
        Settings(pooling="cls"),
        Settings(dense=("7:tanh", "5:linear"), dimensions=3, normalize=True),
    ],
)
def test_the_model_pools_and_transforms(settings, tiny_config, batch):
    config = dataclasses.replace(tiny_config, initializer_range=0.5)
    model = build_embedder(config, settings)
    inputs = {name: batch[name] for name in model.input}
    want = _by_hand(model, batch, settings)
    got = model(inputs)["embedding"]
    np.testing.assert_allclose(got, want, atol=1e-5)
    got = models.without_padding(model)(inputs)["embedding"]
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dimensions": 25}, "dimensions is 25; the vectors have 24"),
        (
            {"dense": ["8:tanh"], "matryoshka": [16, 8]},
            "matryoshka is 16; the vectors have 8",
        ),
    ],
)
def test_dimensions_that_there_are_not(settings, message, tiny_config):
    config = dataclasses.replace(
        tiny_config, hidden_size=24, num_attention_heads=2
    )
    with pytest.raises(ValueError, match=message):
        build_embedder(config, Settings(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "median"}, 'pooling is "median"; needs one of'),
        ({"normalize": 1}, "normalize is 1; needs true or false"),
        ({"dense": ["8:cube"]}, "dense is '8:cube'; needs SIZE:ACTIVATION"),
        ({"loss": "softmax"}, 'loss is "softmax"; needs one of'),
        ({"scale": 0.0}, "scale is 0.0; needs 0 < x"),
        ({"matryoshka": [0]}, r"matryoshka\[0\] is 0; needs 1 <= x"),
        ({"query_prompt": 3}, "query_prompt is 3; needs a string"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Settings(**settings)
