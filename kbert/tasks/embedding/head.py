# SPDX-License-Identifier: Apache-2.0
"""One vector for a text, and the losses that such vectors are trained by."""

from typing import Any

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.layers.activations import activation
from kbert.models import build_encoder, encode, pool, unit_length
from kbert.tasks.embedding.settings import EncoderSettings, Loss, Settings
from kbert.tasks.heads import Head, TextInputs, dense


def build_embedder(config: BertConfig, settings: Settings) -> keras.Model:
    """An encoder with a vector pooled from those of its tokens.

    Inputs: token_ids, segment_ids, padding_mask, each (B, S) int32; (B, N, S)
        if the settings read long texts in windows.
    Outputs: embedding (B, D) float32.
    Raises: ValueError, naming the setting, for dimensions above the width.
    Source: Reimers and Gurevych 2019, arXiv:1908.10084, section 3; for the
        dense layers Reimers and Gurevych 2020, arXiv:2004.09813, section 2.
    """
    settings.check_width(config.hidden_size)
    inputs = TextInputs(settings.join)
    # The only vectors that "cls" reads.
    positions = inputs.first_B1 if settings.pooling == "cls" else None
    sequence = encode(config, inputs.rows, positions=positions).sequence
    vectors = pool(sequence, inputs.rows["padding_mask"], settings.pooling)
    vectors = inputs.joined(vectors)
    for index, (size, name) in enumerate(settings.dense_layers):
        vectors = dense(config, vectors, size, f"embedding_dense_{index}")
        vectors = _ACTIVATIONS[name](vectors)
    if settings.dimensions:
        vectors = vectors[:, : settings.dimensions]
    if settings.normalize:
        vectors = unit_length(vectors)
    outputs = {features.EMBEDDING: vectors}
    return keras.Model(inputs.of_model, outputs, name="embedder")


_ACTIVATIONS = {
    "linear": lambda x: x,
    "tanh": ops.tanh,
    "relu": ops.relu,
    "gelu_erf": activation("gelu_erf"),
}


@keras.saving.register_keras_serializable(package="kbert")
class EmbeddingLoss(keras.losses.Loss):
    """A loss of the vectors of rows of T texts.

    Call: labels (B,) float, vectors (B * T, D) float, the texts of a row one
        after another -> the mean loss of the rows.

    ranking     anchor, positive and any number of negatives: the cross-entropy
                of the scaled cosines of the anchor with the positives and
                negatives of all rows, of which its own positive is right
                (Henderson et al. 2017, arXiv:1705.00652, section 4.3)
    cosent      two texts with a score: for all pairs of rows of which one has
                the higher score, log(1 + sum of exp(scaled difference of
                cosines)) (Su 2022, https://kexue.fm/archives/8847)
    cosine      two texts with a score: the squared difference of cosine and
                score (Reimers and Gurevych 2019, section 3)
    triplet     anchor, positive, negative: what the distance to the negative
                lacks of that to the positive plus the margin (same section)
    margin_mse  query, positive, negative, with a teacher's difference of their
                scores: the squared difference from that of the dot products
                (Hofstätter et al. 2020, arXiv:2010.02666, section 3.3)

    Args:
        kind: one of these.
        scale: of cosines.
        symmetric: whether "ranking" is the mean of both directions, the other
            from each positive to the anchors.
        margin: of distances.
        matryoshka: the sum of the losses of these many first numbers, each of
            length 1 (Kusupati et al. 2022, arXiv:2205.13147, section 3).
    """

    def __init__(
        self,
        kind: Loss = "ranking",
        *,
        scale: float = 20.0,
        symmetric: bool = False,
        margin: float = 1.0,
        matryoshka: tuple[int, ...] = (),
        name: str = "embedding_loss",
    ):
        super().__init__(name=name)
        self.kind, self.scale, self.margin = kind, scale, margin
        self.symmetric, self.matryoshka = symmetric, tuple(matryoshka)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {
            "kind": self.kind,
            "scale": self.scale,
            "symmetric": self.symmetric,
            "margin": self.margin,
            "matryoshka": list(self.matryoshka),
            "name": self.name,
        }

    @property
    def compares_rows(self) -> bool:
        """Whether the loss of a row depends on the other rows of its batch."""
        return self.kind in ("ranking", "cosent")

    def call(self, y_true, y_pred):
        rows = ops.shape(y_true)[0]
        vectors_BTD = ops.reshape(y_pred, (rows, -1, y_pred.shape[-1]))
        function = getattr(self, f"_{self.kind}")
        if not self.matryoshka:
            return function(y_true, vectors_BTD)
        losses = [
            function(y_true, unit_length(vectors_BTD[..., :width]))
            for width in self.matryoshka
        ]
        return sum(losses[1:], losses[0])

    def _ranking(self, labels, vectors_BTD):
        del labels
        vectors_BTD = unit_length(vectors_BTD)
        rows, width = ops.shape(vectors_BTD)[0], vectors_BTD.shape[-1]
        anchors_BD = vectors_BTD[:, 0]
        # The positives first, then the first negatives of all rows, ...
        others_TBD = ops.transpose(vectors_BTD[:, 1:], (1, 0, 2))
        others = ops.reshape(others_TBD, (-1, width))
        scores = self.scale * ops.matmul(anchors_BD, ops.transpose(others))
        right = ops.arange(rows)
        loss = ops.sparse_categorical_crossentropy(
            right, scores, from_logits=True
        )
        if self.symmetric:
            back = ops.transpose(scores[:, :rows])
            loss += ops.sparse_categorical_crossentropy(
                right, back, from_logits=True
            )
            loss /= 2.0
        return loss

    def _cosent(self, labels, vectors_BTD):
        cosines_B = self.scale * _cosines(vectors_BTD, 1)
        labels = ops.cast(labels, cosines_B.dtype)
        # Of the rows i and j, where i should have the higher cosine.
        differences = cosines_B[None, :] - cosines_B[:, None]
        counted = labels[:, None] > labels[None, :]
        terms = ops.where(counted, differences, -1e12)
        terms = ops.append(ops.reshape(terms, (-1,)), 0.0)
        return ops.broadcast_to(ops.logsumexp(terms), ops.shape(cosines_B))

    def _cosine(self, labels, vectors_BTD):
        cosines_B = _cosines(vectors_BTD, 1)
        return ops.square(cosines_B - ops.cast(labels, cosines_B.dtype))

    def _triplet(self, labels, vectors_BTD):
        del labels
        near, far = _distances(vectors_BTD, 1), _distances(vectors_BTD, 2)
        return ops.relu(near - far + self.margin)

    def _margin_mse(self, labels, vectors_BTD):
        anchors_BD = vectors_BTD[:, 0]
        difference_BD = vectors_BTD[:, 1] - vectors_BTD[:, 2]
        margins_B = ops.sum(anchors_BD * difference_BD, axis=-1)
        return ops.square(margins_B - ops.cast(labels, margins_B.dtype))


def _cosines(vectors_BTD, text):
    vectors_BTD = unit_length(vectors_BTD)
    return ops.sum(vectors_BTD[:, 0] * vectors_BTD[:, text], axis=-1)


def _distances(vectors_BTD, text):
    # 1e-6 as in PyTorch's pairwise distance: the root has a slope at 0 then.
    difference_BD = vectors_BTD[:, 0] - vectors_BTD[:, text] + 1e-6
    return ops.sqrt(ops.sum(ops.square(difference_BD), axis=-1))


def _loss(settings: Settings) -> EmbeddingLoss:
    return EmbeddingLoss(
        settings.loss or "ranking",
        scale=settings.scale,
        symmetric=settings.symmetric,
        margin=settings.margin,
        matryoshka=settings.matryoshka,
    )


HEAD = Head(
    build=lambda config, spec: build_embedder(config, spec.settings),
    losses=lambda spec: {features.EMBEDDING: _loss(spec.settings)},
    metrics=lambda spec: {features.EMBEDDING: []},
    settings=Settings,
)
# Of a model that is not trained for vectors.
ENCODER = Head(
    build=lambda config, spec: build_encoder(config), settings=EncoderSettings
)
