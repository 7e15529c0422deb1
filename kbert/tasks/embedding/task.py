# SPDX-License-Identifier: Apache-2.0
"""Vectors of texts."""

import dataclasses
import os
from typing import Any, Self

import numpy as np

from kbert import features, models
from kbert.checkpoints import folder
from kbert.checkpoints.folder import LoadedModel
from kbert.data import retrieval, tables
from kbert.tasks import TaskSpec, inputs, retrieval_scores
from kbert.tasks.embedding import data, metrics
from kbert.tasks.embedding.data import Texts
from kbert.tasks.embedding.predictor import (
    DOCUMENT,
    QUERY,
    EmbeddingPredictor,
    prompts_of,
    spec_of,
)
from kbert.tasks.embedding.settings import LABELLED, Loss, Settings
from kbert.tasks.labelled import LabelledTask
from kbert.tasks.rows import of_lists
from kbert.tasks.shared_blocks import SharedBlocks

_SHOWN = 3  # documents that were found instead, in a report


class Embedder(LabelledTask):
    """Vectors of texts, pooled from those of their tokens.

    It reads the encoder of a model of any task; of a sentence-transformers
    folder with its pooling, dense layers, normalization, prompts and longest
    text. Other settings are arguments of `from_pretrained`: pooling "cls",
    "mean", "max" or "mean_sqrt_len_tokens" (see `kbert.pool`), normalize,
    whether vectors have length 1, dense, dimensions, query_prompt,
    document_prompt, and what `fit` does: loss, scale, symmetric, margin,
    matryoshka (see `kbert.tasks.embedding.settings.Settings`).

    `predict` gives an array, (N, D) float32. `fit` takes a tuple of columns:
    anchors, positives and any number of columns of negatives, without labels;
    or two columns with scores as labels; or texts alone.

    Example:
        model = kbert.Embedder.from_pretrained("all-MiniLM-L6-v2")
        vectors = model.predict(["A fine film.", "Two dull hours."])
        model.fit((questions, paragraphs), epochs=1)
    """

    task = "embedding"
    metric = retrieval_scores.METRIC
    row_score = "agreement"  # see `row_scores`
    one_loss_a_row = True
    takes = ("text_columns", "label_column", "header")
    _layer = -1

    def __init__(self, loaded: LoadedModel):
        if loaded.spec.task == self.task:  # before a model is built
            loaded.spec.settings.check_width(loaded.config.hidden_size)
        super().__init__(loaded)

    @classmethod
    def from_pretrained(
        cls, path: str | os.PathLike, *, layer: int = -1, **kwargs: Any
    ) -> Self:
        """Reads the encoder of a model: see `Task.from_pretrained`.

        Args:
            path: of the model.
            layer: whose vectors `predict` pools: 0 for the embeddings, 1 or
                more for a block's output, negative ones counted from the top.
                Only a model of the top layer can be trained and exported.
            **kwargs: settings, max_seq_length, dropout, lower_case.
        Raises: ValueError, naming the file or the argument; OSError.
        """
        embedder = super().from_pretrained(path, **kwargs)
        embedder._layer = layer
        if layer != -1:
            # Now, for a layer that is not there is an error.
            embedder._made_predictor = embedder._make_predictor()
        return embedder

    @classmethod
    def _spec_for(cls, loaded, labels, num_texts, max_seq_length, settings):
        """Any model's encoder, with the pooling of its folder or the mean."""
        if labels is not None:
            raise ValueError(f"labels={list(labels)}: an encoder has none.")
        spec = loaded.spec
        if spec.task != cls.task:
            spec = spec_of(spec)
            names = {field.name for field in dataclasses.fields(Settings)}
            of_encoder = vars(spec.settings).keys()
            if settings.keys() & (names - of_encoder):
                spec = _trained(spec)
        spec = spec.with_settings(**settings)
        length = max_seq_length or spec.max_seq_length
        return dataclasses.replace(spec, max_seq_length=length)

    @classmethod
    def spec_from(cls, spec, initial, options):
        """The spec with what the initial model says of its vectors."""
        if initial.task != cls.task:
            initial = _trained(spec_of(initial))
        own = dataclasses.asdict(initial.settings)
        own |= {"loss": spec.settings.loss, **options.settings}
        return dataclasses.replace(spec, settings=Settings(**own))

    @classmethod
    def _read(cls, path, options, spec):
        if retrieval.is_qrels(path):
            found = retrieval.read_retrieval(path, encoding=options.encoding)
            return data.of_retrieval(found)
        columns = options.columns(spec)
        if not columns["text_columns"]:
            raise ValueError("--text_columns is missing: needs 1 or more.")
        return data.read_table(
            path,
            columns["text_columns"],
            columns["label_column"],
            header=options.header,
            encoding=options.encoding,
        )

    @classmethod
    def _spec_fields(cls, rows, options):
        loss = options.settings.get("loss")
        loss = loss or _default_loss(rows)
        _check(rows, loss)
        return {"settings": {"loss": loss}}

    def rows(self, x, y):
        columns = inputs.texts(x, len(inputs.columns(x)))
        lines = [*range(1, len(columns[0]) + 1)]
        labels = None
        if y is not None:
            labels = tables.label_numbers(
                of_lists(x, y, len(columns), inputs.name)
            )
        return data.with_pairs(Texts("", lines, columns, labels))

    def examples(self, rows):
        self._train_form(rows)
        loss = self.spec.settings.loss
        _check(rows, loss)
        if count := data.num_equal(rows):
            where = f"{rows.path}: " if rows.path else ""
            print(
                f"{where}{count:,} of {len(rows):,} rows pair a text with "
                "itself"
            )
        prompts = prompts_of(self.spec)
        return data.examples(
            rows,
            prompts=(prompts[QUERY], prompts[DOCUMENT]),
            tokenizer=self.tokenizer,
            max_seq_length=self.spec.max_seq_length,
            windows=self.spec.windows,
            apart=loss == "ranking",
        )

    def _batches(self, examples, batch_size, seed, first_step=0):
        # Rows that fill up a batch would be their own negatives.
        size = min(batch_size, len(examples))
        return super()._batches(examples, size, seed, first_step)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        self._train_form()
        super().compile(*args, **kwargs)

    compile.__doc__ = LabelledTask.compile.__doc__

    def _train_form(self, rows: Texts | None = None) -> None:
        """Makes an encoder a model of vectors, with a loss that fits the rows.

        Raises: ValueError if it cannot be trained.
        """
        if self._layer != -1:
            raise ValueError(
                f"layer={self._layer}: needs -1, the top one, to be trained."
            )
        if self.spec.task == "encoder":
            self.spec = _trained(self.spec)
            self.build(self.config)
            self._made_predictor = None
        if self.spec.settings.loss is None:
            loss = _default_loss(rows) if rows else "ranking"
            self.spec = self.spec.with_settings(loss=loss)

    def to_score(self, rows):
        """A copy with the default loss of such rows, if its own has others.

        The model itself stays as it is: an encoder remains one.
        """
        is_encoder = self.spec.task == "encoder"
        if not is_encoder and _fits(rows, self.spec.settings.loss):
            return self
        spec = _trained(self.spec) if is_encoder else self.spec
        spec = spec.with_settings(loss=_default_loss(rows))
        task = Embedder(dataclasses.replace(self.loaded, spec=spec))
        task._layer = self._layer
        if is_encoder:
            task.build(task.config)
        return task

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        replicas = self.keras_model.distribute_strategy.num_replicas_in_sync
        if replicas > 1:
            raise ValueError(
                f"fit on {replicas} replicas would compare the texts of each "
                "with its own alone; needs one, or kbert-finetune."
            )
        return super().fit(*args, **kwargs)

    fit.__doc__ = LabelledTask.fit.__doc__

    @property
    def selection_metric(self) -> str:
        scored = self.spec.settings.loss in ("cosent", "cosine")
        return "spearman" if scored else self.metric

    def predict_rows(self, rows, *, batch_size, progress=None):
        """A cosine, or what is found for the first text, of each row.

        Returns: for rows of two texts with labels {"cosine"}; for others
            "rank", from 1, of the row's positive among all documents of the
            rows, None if it is not among the first 100; "found", the best of
            them; and "scores" of its query.
        """
        queries, documents = _numbered(rows)
        first, second = (
            self._vectors([*texts], kind, batch_size, progress)
            for texts, kind in ((queries, QUERY), (documents, DOCUMENT))
        )
        if _is_scored(rows):
            pairs = zip(*rows.columns, strict=True)
            pairs = [(queries[a], documents[b]) for a, b in pairs]
            return metrics.cosines(first, second, pairs)
        return metrics.found(rows.columns, queries, documents, first, second)

    def _vectors(self, texts, kind, batch_size, progress):
        predictor = self.predictor_of(kind)
        options = {"progress": progress} if progress else {}
        found = predictor.predict(texts, batch_size=batch_size, **options)
        return np.stack([row[features.EMBEDDING] for row in found])

    def labels(self, rows):
        """The scores, or the positives."""
        return rows.labels if _is_scored(rows) else rows.columns[1]

    def scores(self, predictions, rows):
        if _is_scored(rows):
            return metrics.of_cosines(predictions, rows.labels)
        return metrics.of_queries(predictions, rows.columns[0])

    def row_scores(self, predictions, rows):
        """The reciprocal rank; of cosines 1 less the difference of ranks.

        These are the shares of the rows with a lower cosine, or label.
        """
        if _is_scored(rows):
            return metrics.agreement(predictions, rows.labels)
        return [1 / row["rank"] if row["rank"] else 0.0 for row in predictions]

    def predict(
        self,
        x: Any,
        *,
        batch_size: int = 32,
        kind: str | None = None,
        **options: Any,
    ) -> np.ndarray:
        """The vectors of texts, (N, D) float32.

        Args:
            x: a list of texts, an array or a column of a table.
            batch_size: rows at once.
            kind: "query" or "document", for texts with that prompt; None for
                the prompt of both, if they have the same.
            **options: none.
        Raises: ValueError, naming the row.
        """
        predictor = self.predictor_of(kind)
        columns = inputs.columns(x)
        found = predictor.predict(*columns, batch_size=batch_size, **options)
        vectors = [row[features.EMBEDDING] for row in found]
        return np.array(vectors, np.float32).reshape(-1, predictor.width)

    def predictor_of(self, kind: str | None) -> EmbeddingPredictor:
        """The predictor for "query", "document" or texts of no kind.

        Raises: ValueError for another kind.
        """
        if kind is None:
            return self.predictor
        prompts = prompts_of(self.spec)
        if kind not in prompts:
            raise ValueError(f"kind is {kind!r}; needs one of {list(prompts)}.")
        return self.predictor.with_prompt(prompts[kind])

    def _make_predictor(self):
        if self.spec.task == self.task and self._layer == -1:
            return super()._make_predictor()
        encoder = models.build_features(self.config, self._layer)
        folder.copy_weights(self.keras_model, encoder, fewer_blocks=True)
        return EmbeddingPredictor(
            SharedBlocks().of(encoder),
            vocabulary=self.vocabulary,
            spec=spec_of(self.spec),
        )


def _trained(spec: TaskSpec) -> TaskSpec:
    """The spec of an encoder as that of a model of vectors."""
    settings = Settings(**dataclasses.asdict(spec.settings))
    return dataclasses.replace(spec, task=Embedder.task, settings=settings)


def _is_scored(rows: Texts) -> bool:
    """Whether the rows are pairs with a score."""
    return rows.labels is not None and len(rows.columns) == 2


def _numbered(rows: Texts) -> tuple[dict[str, int], dict[str, int]]:
    """The queries and the documents of the rows, each text once."""
    queries, *documents = rows.columns
    others = [text for column in (*documents, rows.others) for text in column]
    return (
        {text: i for i, text in enumerate(dict.fromkeys(queries))},
        {text: i for i, text in enumerate(dict.fromkeys(others))},
    )


def _default_loss(rows: Texts) -> Loss:
    return "cosent" if rows.labels else "ranking"


def _fits(rows: Texts, loss: str) -> bool:
    """Whether a loss takes such rows."""
    try:
        _check(rows, loss)
    except ValueError:
        return False
    return True


def _check(rows: Texts, loss: str) -> None:
    """Checks that a loss takes such rows.

    Raises: ValueError, naming the file.
    """
    where = f"{rows.path}: " if rows.path else ""
    count = len(rows.columns)
    needed = {"ranking": "2 or more", "cosent": "2", "cosine": "2"}
    needed = needed.get(loss, "3")
    if str(count) != needed and (loss != "ranking" or count < 2):
        raise ValueError(
            f"{where}{count} texts a row; the loss {loss} needs {needed}."
        )
    if (rows.labels is not None) != (loss in LABELLED):
        raise ValueError(
            f"{where}{'no labels' if loss in LABELLED else 'labels'}; the loss "
            f"{loss} needs {'them' if loss in LABELLED else 'none'}."
        )
    if loss == "cosine":
        data.check_range(rows, -1, 1)
    if len(rows) < 2 and loss in ("ranking", "cosent"):
        raise ValueError(
            f"{where}{len(rows)} rows; the loss {loss} compares rows: needs 2 "
            "or more."
        )
