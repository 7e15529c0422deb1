# SPDX-License-Identifier: Apache-2.0
"""A model of a task, from raw text: what `kbert.Classifier` and others are."""

import abc
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import keras
import tensorflow as tf

from kbert import tasks
from kbert.checkpoints import folder, formats
from kbert.checkpoints.folder import LoadedModel
from kbert.config import BertConfig
from kbert.data import batching
from kbert.data.batching import Examples
from kbert.serving import export
from kbert.serving.signatures import Signatures
from kbert.tasks import inputs
from kbert.tasks.predictor import make_predictor
from kbert.tasks.spec import TaskSpec
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import Vocabulary
from kbert.training import replicas
from kbert.training.optimizer import AdamW, WarmupDecay

_MAX_SEQ_LENGTH = 128  # tokens of a row, of a newly initialized head
_WARMUP_SHARE = 0.1  # of the steps, as in Devlin et al. 2019, appendix A.3


class Task(abc.ABC):
    """A model that takes raw text: read, trained, scored, saved, exported.

    Its subclasses are the public classes, one for each task; they say what
    texts and labels are. `from_pretrained` and `kbert.load` make them.

    Attributes:
        keras_model: the functional model, whose inputs are token ids.
        config: of the encoder.
        vocabulary: of the model.
        spec: the fields of task.json: labels, longest row, settings.
        licences: of the weights, by file name.
    """

    task: ClassVar[str]

    def __init__(self, loaded: LoadedModel):
        self.keras_model: keras.Model = loaded.model
        self.config: BertConfig = loaded.config
        self.vocabulary: Vocabulary = loaded.vocabulary
        self.spec: TaskSpec = loaded.spec
        self.licences: Mapping[str, bytes] = loaded.licences
        self._compile_args: dict[str, Any] | None = None  # see `compile`
        self._recipe_rate: float | None = None
        self._made_predictor: Any = None

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike,
        *,
        labels: Sequence[Any] | None = None,
        num_texts: int = 1,
        max_seq_length: int | None = None,
        dropout: float | None = None,
        lower_case: bool | None = None,
        **settings: Any,
    ) -> Self:
        """Reads a model of any format that kbert can read, for this task.

        The formats are kbert's own, Hugging Face's, sentence-transformers',
        KerasHub's, and checkpoints of TensorFlow 1 (google-research/bert) and
        of the Model Garden. Prints one line to stderr: the format, which
        layers are newly initialized and which of the file are left over.

        Args:
            path: of the model's folder, or of a checkpoint in one.
            labels: names of the classes, for a model that has no head for
                them, or one for others.
            num_texts: texts in an example, 1 or 2, of a newly initialized
                head.
            max_seq_length: most tokens of a row, [CLS] and [SEP] counted. By
                default that of a model of this task, and 128 for others.
            dropout: of hidden states and attention; by default the config's.
            lower_case: the casing, if no file says it.
            **settings: fields of the task's settings, such as multi_label.
        Raises: ValueError, naming the file or the argument; OSError.
        """
        loaded, lines = formats.read(path, lower_case=lower_case)
        try:
            spec = cls._spec_for(
                loaded, labels, num_texts, max_seq_length, settings
            )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        config = loaded.config.with_dropout(dropout)
        task = cls(dataclasses.replace(loaded, config=config, spec=spec))
        if (spec, config) != (loaded.spec, loaded.config):
            fresh, left = task.build(config)
            if fresh:
                lines.append(f"newly initialized: {', '.join(fresh)}")
            if left:
                lines.append(f"left over: {', '.join(left)}")
        if note := tasks.segment_note(config, spec):
            lines.append(note)
        formats.print_report(path, lines)
        return task

    @classmethod
    def _spec_for(
        cls, loaded, labels, num_texts, max_seq_length, settings
    ) -> TaskSpec:
        """The model's own spec if it has the head; else a new one."""
        spec, config = loaded.spec, loaded.config
        names = None if labels is None else tuple(map(str, labels))
        if spec.task == cls.task and names in (None, spec.labels):
            spec = spec.with_settings(**settings)
            length = max_seq_length or spec.max_seq_length
            return dataclasses.replace(spec, max_seq_length=length)
        head = tasks.head(cls.task)
        if head.has_labels and not names:
            raise ValueError(
                f"it has no head for {cls.task}; name the labels: labels=[...]."
            )
        if names and not head.has_labels:
            raise ValueError(f"labels={list(names)}: {cls.task} has none.")
        length = max_seq_length or min(
            _MAX_SEQ_LENGTH, config.max_position_embeddings
        )
        if length > config.max_position_embeddings:
            raise ValueError(
                f"max_seq_length={length}: the model takes at most "
                f"{config.max_position_embeddings} (max_position_embeddings)."
            )
        return TaskSpec(
            task=cls.task,
            max_seq_length=length,
            labels=names or (),
            num_texts=head.num_texts or num_texts,
            settings=head.settings_of(length, settings),
            embedding=spec.embedding_settings,
        )

    def build(self, config: BertConfig) -> tuple[list[str], list[str]]:
        """Makes a model with the task's head, of the weights there are.

        Args:
            config: of the encoder, which may have another dropout.
        Returns: the layers that are newly initialized, and those of the model
            before it that are left over.
        """
        source, self.keras_model = (
            self.keras_model,
            tasks.build(config, self.spec),
        )
        fresh = folder.copy_weights(source, self.keras_model)
        names = {layer.name for layer in self.keras_model.layers}
        left = [x.name for x in source.layers if x.weights]
        return fresh, [name for name in left if name not in names]

    @property
    def loaded(self) -> LoadedModel:
        """The model and what belongs to it, as folders have them."""
        return LoadedModel(
            self.keras_model,
            self.config,
            self.vocabulary,
            self.spec,
            self.licences,
        )

    @property
    def tokenizer(self) -> Tokenizer:
        """Texts (B,) string to token ids (B, None) int32, in the graph."""
        return Tokenizer(self.vocabulary)

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer | None = None,
        *,
        learning_rate: float = 5e-5,
        loss: Any = None,
        weighted_metrics: Any = None,
        jit_compile: bool = False,
        **kwargs: Any,
    ) -> None:
        """Says how to train: as `keras.Model.compile`, with defaults.

        Args:
            optimizer: by default the recipe of the paper, made when `fit`
                knows the number of steps: AdamW with weight decay 0.01, norms
                of the gradients up to 1, a rate that rises in a tenth of the
                steps and falls linearly to 0 (Devlin et al. 2019,
                arXiv:1810.04805, appendix A.2 and A.3).
            learning_rate: the highest of that recipe.
            loss: by default `losses()`.
            weighted_metrics: by default `metrics()`.
            jit_compile: whether XLA compiles the step, once for each length
                that batches are padded to.
            **kwargs: of `keras.Model.compile`.
        """
        self._recipe_rate = None if optimizer else learning_rate
        self._compile_args = {
            "optimizer": optimizer,
            "loss": loss or self.losses(),
            "weighted_metrics": weighted_metrics or self.metrics(),
            "jit_compile": jit_compile,
            **kwargs,
        }
        if optimizer:
            self._compile(optimizer)

    def losses(self) -> dict[str, keras.losses.Loss]:
        """By output, as training minimizes them."""
        return dict(tasks.head(self.spec.task).losses(self.spec))

    def metrics(self) -> dict[str, list[keras.metrics.Metric]]:
        """By output, new ones, as `fit` shows them."""
        return dict(tasks.head(self.spec.task).metrics(self.spec))

    def dataset(
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int = 32,
        seed: int | None = None,
        sample_weight: Any = None,
        class_weight: Mapping[Any, float] | None = None,
    ) -> tf.data.Dataset:
        """Batches that `keras_model` takes: (inputs, labels[, weights]).

        A batch is padded to its longest row. With a seed it is endless, each
        epoch in another order, rows of similar length together; without one
        it is one pass in the order given.

        Args:
            x: texts, as `fit` takes them.
            y: their labels.
            batch_size: rows of a batch.
            seed: of the order, for training.
            sample_weight: (N,) of the rows' losses.
            class_weight: of the rows' losses, by label.
        Raises: ValueError, naming the row.
        """
        examples = self._examples(x, y, sample_weight, class_weight)
        return self._batches(examples, batch_size, seed)

    def fit(  # noqa: PLR0913 -- as keras.Model.fit
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int = 32,
        epochs: int = 3,
        validation_data: tuple | tf.data.Dataset | None = None,
        validation_split: float = 0.0,
        class_weight: Mapping[Any, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains: `keras.Model.fit` on texts.

        Without `compile` before it, the paper's recipe: see `compile`.

        Args:
            x: texts: a list, an array or a column of a table; pairs are a
                tuple of two of these. Or a finite `tf.data.Dataset` of (text,
                label) or ((text, text), label), one row an element.
            y: labels, as the class says; None with a Dataset.
            batch_size: rows of a step, on all replicas together.
            epochs: passes over the rows.
            validation_data: (x, y) or (x, y, sample_weight), or a Dataset.
            validation_split: share of the rows that is used for validation
                instead; rows of equal texts stay on one side.
            class_weight: of the rows' losses, by label.
            sample_weight: (N,) of the rows' losses.
            initial_epoch: the first one, of a run that is resumed.
            steps_per_epoch: by default as many as use each row once.
            seed: of the order of the rows.
            **kwargs: of `keras.Model.fit`: callbacks, verbose,
                validation_steps, validation_freq.
        Returns: the History of Keras.
        Raises: ValueError, naming the row or the argument.
        """
        x, y = inputs.unzipped(x, y)
        if validation_split:
            if validation_data is not None:
                raise ValueError(
                    "validation_split and validation_data: give one of them."
                )
            (x, y, sample_weight), validation_data = inputs.split(
                x, y, sample_weight, validation_split
            )
        examples = self._examples(x, y, sample_weight, class_weight)
        steps = steps_per_epoch or batching.steps_per_epoch(
            examples, batch_size
        )
        if validation_data is not None:
            validation_data = self.dataset(
                *inputs.validation(validation_data), batch_size=batch_size
            )
        if self._compile_args is None:
            self.compile()
        if self._recipe_rate is not None:
            self._compile(self._recipe(epochs * steps))
        replicas.vary_dropout(self.keras_model)
        return self.keras_model.fit(
            self._batches(examples, batch_size, seed, initial_epoch * steps),
            epochs=epochs,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps,
            validation_data=validation_data,
            shuffle=False,  # the dataset has done it
            **kwargs,
        )

    @abc.abstractmethod
    def evaluate(
        self, x: Any, y: Any = None, *, batch_size: int = 32
    ) -> dict[str, float]:
        """The loss, and the task's official scores of its predictions.

        Args:
            x: texts, as `fit` takes them.
            y: their labels.
            batch_size: rows at once.
        Returns: by name, as kbert-evaluate prints them.
        Raises: ValueError, naming the row.
        """

    def predict(self, x: Any, *, batch_size: int = 32, **options: Any) -> Any:
        """Predicts for texts.

        Args:
            x: texts, as `fit` takes them.
            batch_size: rows at once.
            **options: of some tasks: top_k, how many tokens a MaskedLM gives
                for each [MASK]; n_best, how many answers a QuestionAnswerer
                lists for each question.
        Returns: for each row, in order, what kbert-predict prints.
        Raises: ValueError, naming the row.
        """
        columns = inputs.columns(x)
        return self.predictor.predict(
            *columns, batch_size=batch_size, **options
        )

    def save(self, path: str | os.PathLike) -> None:
        """Writes a model folder, complete or not at all; `kbert.load` reads it.

        Raises: ValueError if a folder of that name holds anything but a
            model; OSError.
        """
        folder.save(
            path,
            self.keras_model,
            config=self.config,
            vocabulary=self.vocabulary,
            spec=self.spec,
            licences=self.licences,
        )

    def export(
        self, base_dir: str | os.PathLike, *, version: int | None = None
    ) -> str:
        """Writes a SavedModel for TensorFlow Serving, checked, or nothing.

        Args:
            base_dir: one folder for all versions of a model.
            version: 1 or more; by default one more than the highest there is.
        Returns: the path of the version's folder.
        Raises: ValueError if the version is there already; OSError.
        """
        signatures = Signatures(
            self.keras_model, vocabulary=self.vocabulary, spec=self.spec
        )
        written = export.export(
            signatures, base_dir, version=version, files=self.licences
        )
        return str(written.path)

    @abc.abstractmethod
    def _examples(self, x, y, sample_weight, class_weight) -> Examples:
        """The rows tokenized, as `dataset` takes them."""

    def _batches(
        self,
        examples: Examples,
        batch_size: int,
        seed: int | None,
        first_step: int = 0,
    ) -> tf.data.Dataset:
        return batching.dataset(
            examples, batch_size=batch_size, seed=seed, first_step=first_step
        )

    @property
    def predictor(self) -> Any:
        """Raw text to predictions in one graph, which an export has too.

        A `kbert.tasks.predictor.Predictor`, made once: it reads the weights
        that the model has when it is called.
        """
        if self._made_predictor is None:
            self._made_predictor = self._make_predictor()
        return self._made_predictor

    def _make_predictor(self) -> Any:
        return make_predictor(
            self.keras_model, vocabulary=self.vocabulary, spec=self.spec
        )

    def _recipe(self, steps: int) -> AdamW:
        """The optimizer of a training of so many steps."""
        warmup = int(steps * _WARMUP_SHARE)
        schedule = WarmupDecay(self._recipe_rate or 0.0, warmup, steps)
        with self.keras_model.distribute_strategy.scope():
            return AdamW(schedule, global_clipnorm=1.0)

    def _compile(self, optimizer: Any) -> None:
        args = {**(self._compile_args or {}), "optimizer": optimizer}
        with self.keras_model.distribute_strategy.scope():
            self.keras_model.compile(**args)


def load(
    path: str | os.PathLike,
    *,
    lower_case: bool | None = None,
    **settings: Any,
) -> Task:
    """Reads a model as the class of its own task: see `kbert.load`."""
    loaded, lines = formats.read(path, lower_case=lower_case)
    try:
        spec = loaded.spec.with_settings(**settings)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if note := tasks.segment_note(loaded.config, spec):
        lines.append(note)
    if lines[0] == formats.KBERT.name:  # which needs no word
        lines = lines[1:]
    if lines:
        formats.print_report(path, lines)
    is_new = spec != loaded.spec  # and so may be the model's shape
    loaded = dataclasses.replace(loaded, spec=spec)
    task = tasks.task_class(spec.task)(loaded)
    if is_new:
        task.build(task.config)
    return task
