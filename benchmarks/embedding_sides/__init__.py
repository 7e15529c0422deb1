# SPDX-License-Identifier: Apache-2.0
"""The two sides of `benchmarks.embedding_steps`, and what both are asked.

A side's module has `make(work)`, a function that takes the next step and
returns its loss.
"""

import dataclasses
import pathlib
from typing import Any

RATE, EPSILON, CLIP = 2e-5, 1e-6, 1.0
MAX_SEQ_LENGTH = 256


@dataclasses.dataclass(frozen=True)
class Work:
    """Steps of training on rows of texts.

    Attributes:
        model: a sentence-transformers folder.
        data: a table of SICK: sentence_A, sentence_B and relatedness_score.
        loss: of `kbert.tasks.embedding.settings.Loss`; or "reranking", the
            cross-entropy of pairs.
        texts: of a row.
        batch_size: rows of a step.
        symmetric: whether the loss "ranking" is.
        parts: in which a step is computed.
        matryoshka: the dimensions that the loss is also of.
    """

    model: str
    data: str
    loss: str
    texts: int = 2
    batch_size: int = 32
    symmetric: bool = False
    parts: int = 1
    matryoshka: tuple[int, ...] = ()

    def columns(self) -> tuple[list[list[str]], list[float]]:
        """The texts of the rows, each text once, and their labels.

        A third text is the second of the row before, and the label then the
        difference of the scores; labels are from 0 to 1.
        """
        lines = pathlib.Path(self.data).read_text("utf-8").split("\n")
        names = lines[0].split("\t")
        rows: list[dict[str, Any]] = []
        seen: set[str] = set()
        for line in filter(None, lines[1:]):
            row = dict(zip(names, line.split("\t"), strict=True))
            texts = {row["sentence_A"], row["sentence_B"]}
            if len(texts) == 2 and not seen & texts:
                seen |= texts
                rows.append(row)
        first = [row["sentence_A"] for row in rows]
        second = [row["sentence_B"] for row in rows]
        scores = [(float(row["relatedness_score"]) - 1) / 4 for row in rows]
        if self.texts == 2:
            return [first, second], scores
        others, other_scores = (
            second[-1:] + second[:-1],
            scores[1:] + scores[:1],
        )
        pairs = zip(scores, other_scores, strict=True)
        return [first, second, others], [a - b for a, b in pairs]


def cross_encoder(model: str, folder: str) -> str:
    """Writes a reranker of a model's encoder, for both sides to read."""
    import keras

    import kbert
    from kbert.checkpoints import huggingface

    keras.utils.set_random_seed(1)
    reranker = kbert.Reranker.from_pretrained(model)
    huggingface.save(reranker.loaded, folder, report=print)
    return folder
