# SPDX-License-Identifier: Apache-2.0
"""Raw text to predictions in one graph, which `predict` and exports run."""

import abc
import itertools
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from kbert.tasks import TaskSpec, parts
from kbert.tasks.chunks import AT_ONCE, map_in_chunks
from kbert.tasks.shared_blocks import SharedBlocks
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import Vocabulary
from kbert.text.windows import num_windows, pack_texts

SIGNATURE = "serving_default"  # the name of a predictor's signature
_TEXTS_AT_ONCE = 1024

Text = str | bytes
Column = Sequence[Text | Sequence[Text]]  # a text a row, or several


class Predictor(tf.Module, abc.ABC):
    """Predicts for rows of texts: tokenizer, packing, model and decoding.

    Each task has a subclass, which `make_predictor` makes. Called, it takes
    tensors of strings and returns tensors by name, each with a row for each
    row of texts. Rows are padded to the longest of their batch and do not
    depend on each other. Bytes that are not UTF-8 are no error; inputs that
    differ in their rows are.

    Attributes:
        text_inputs: names of the texts of a row, as in the signature.
        several: those of them that are (B, N) string, N texts a row; the
            others are (B,).
        counts: of those whose N is not the model's: the input that follows
            each, (B,) int32, how many a row has. What follows these is not
            read: a server that joins batches pads with any text.
    """

    text_inputs: tuple[str, ...]
    several: ClassVar[tuple[str, ...]] = ()
    counts: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        model: keras.Model,
        *,
        vocabulary: Vocabulary,
        spec: TaskSpec,
        tokenizer: Tokenizer | None = None,
    ):
        super().__init__(name="predictor")
        self.vocabulary = vocabulary
        self.spec = spec
        self._tokenizer = tokenizer or Tokenizer(vocabulary)
        self._model = model

    # There is nothing to convert, and looking for it takes long.
    @tf.function(autograph=False)
    def __call__(self, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._outputs(*checked(self._input_specs(), inputs))

    def model_outputs(self, inputs: Mapping[str, tf.Tensor]) -> Any:
        """The outputs of the model itself, by name, for its inputs."""
        return self._model(inputs, training=False)

    @abc.abstractmethod
    def _outputs(self, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Texts, and counts of them, to named outputs, inside the graph."""

    @abc.abstractmethod
    def _rows(
        self, outputs: Mapping[str, np.ndarray], columns: Sequence[Column]
    ) -> list[dict[str, Any]]:
        """The outputs of the graph for some rows, as `predict` returns them."""

    def _output_of_texts(self, name: str, *texts: tf.Tensor) -> tf.Tensor:
        """An output of the model for texts (B,) string, one or two a row.

        They are truncated; or read in windows, at most as many at a time as
        the longest text has, or 32 if that is more.
        """
        tokens = [self._tokenizer(text) for text in texts]
        packing: Any = {
            "vocabulary": self.vocabulary,
            "seq_length": self.spec.max_seq_length,
            "windows": self.spec.windows,
        }
        windows = self.spec.windows
        if not windows:
            inputs = pack_texts(*tokens, **packing)
            return self._model(inputs, training=False)[name]
        rows = tokens[0][:, : windows.most_tokens]

        def step(first, end):
            inputs = pack_texts(rows[first:end], **packing)
            return [self._model(inputs, training=False)[name]]

        sizes = tf.cast(rows.row_lengths(), tf.int32)
        counts = num_windows(
            tf.concat([[0], sizes], 0),
            length=self.spec.max_seq_length - 2,
            stride=windows.stride,
        )
        (output,) = map_in_chunks(
            step,
            tf.size(sizes),
            [self._model.output[name].shape],
            at_once=tf.maximum(AT_ONCE // tf.reduce_max(counts), 1),
        )
        return output

    def signature(self) -> Any:
        """The graph for any batch size, its inputs named: serving_default."""
        return self.__call__.get_concrete_function(*self._input_specs())

    def _input_specs(self) -> list[tf.TensorSpec]:
        specs = []
        for name in self.text_inputs:
            shape = (None, None) if name in self.several else (None,)
            specs.append(tf.TensorSpec(shape, tf.string, name))
            if name in self.counts:
                specs.append(
                    tf.TensorSpec((None,), tf.int32, self.counts[name])
                )
        return specs

    def signatures(self) -> dict[str, Any]:
        """All graphs that an export has, by name."""
        return {SIGNATURE: self.signature()}

    def predict(
        self,
        *columns: Column,
        batch_size: int = 32,
        progress: Callable[[int, int], Any] = lambda done, total: None,
    ) -> list[dict[str, Any]]:
        """Predicts for any number of rows.

        Those of similar length go through the model together.

        Args:
            columns: for each of `text_inputs` a list, with an element a row.
            batch_size: rows that go through the model at once.
            progress: called after each batch with how many rows are done
                and how many there are.
        Returns: for each row, in order, what can be written as JSON: see the
            task's class.
        Raises: ValueError if the model takes another number of texts, or if
            the lists differ in length; BadText for a row that is no text, or
            no list of texts where the model takes that.
        """
        self._check_columns(columns)
        graph = self.signature()
        total = len(columns[0])
        sizes = [sum(_size(c[i]) for c in columns) for i in range(total)]
        order = sorted(range(total), key=sizes.__getitem__)
        found: dict[int, dict[str, Any]] = {}
        for start in range(0, total, batch_size):
            indices = order[start : start + batch_size]
            batch = [[column[i] for i in indices] for column in columns]
            got = graph(*self._tensors(batch))
            rows = self._rows({k: x.numpy() for k, x in got.items()}, batch)
            found.update(zip(indices, rows, strict=True))
            progress(len(found), total)
        return [found[i] for i in range(total)]

    def num_truncated(self, *columns: Column) -> int:
        """How many rows, as `predict` takes them, lose tokens."""
        rows = (self._groups(*row) for row in zip(*columns, strict=True))
        return count_longer(rows, self._room, self._tokenizer)

    def _groups(self, *row: Any) -> Iterable[Sequence[Text]]:
        """The texts of a row that the model reads together, if it truncates.

        They lose what is more than `_room` tokens.
        """
        return [row]

    @property
    def _room(self) -> int:
        """Most tokens of a group, [CLS] and [SEP] not counted."""
        if self.spec.windows:
            return self.spec.windows.most_tokens
        return self.spec.max_seq_length - 1 - len(self.text_inputs)

    def _tensors(self, columns: Sequence[Column]) -> Iterator[tf.Tensor]:
        """The inputs of the graph."""
        for name, column in zip(self.text_inputs, columns, strict=True):
            yield _tensor(column)
            if name in self.counts:
                yield tf.constant([len(texts) for texts in column], tf.int32)

    def _check_columns(self, columns):
        if len(columns) != len(self.text_inputs):
            raise ValueError(
                f"Got {len(columns)} lists of texts; this model takes "
                f"{len(self.text_inputs)}: {', '.join(self.text_inputs)}."
            )
        for name, column in zip(self.text_inputs, columns, strict=True):
            check_texts(column, name, several=name in self.several)
        if len({len(column) for column in columns}) > 1:
            lengths = " and ".join(str(len(column)) for column in columns)
            raise ValueError(f"Got {lengths} texts; needs as many of each.")


def make_predictor(
    model: keras.Model, *, vocabulary: Vocabulary, spec: TaskSpec
) -> Any:
    """The predictor of a model of a task, without work for padding.

    Returns: a Predictor of the task, or a `MaskFiller`.
    Raises: ValueError if the task predicts nothing from texts.
    """
    if spec.task == "encoder":
        raise ValueError(
            "The model's task is 'encoder': it gives a text a vector "
            "(kbert-predict --output=embeddings, kbert.Embedder), and no "
            "prediction before kbert-finetune trains it for a task."
        )
    model = SharedBlocks().of(model)
    predictor = parts.predictor_class(spec.task)
    return predictor(model, vocabulary=vocabulary, spec=spec)


class BadText(ValueError):
    """A row of texts for which there is no prediction.

    Args:
        row: its index among those given, from 0.
        why: a sentence.
    """

    def __init__(self, row: int, why: str):
        super().__init__(f"Text {row + 1}: {why}")
        self.row, self.why = row, why


def checked(
    specs: Sequence[tf.TensorSpec], inputs: Sequence[Any]
) -> list[tf.Tensor]:
    """The inputs of a graph, which fails for those that are not as specified.

    A server feeds tensors of any shape, whatever the signature says, and some
    ops read outside of their memory if the rank is wrong: nothing may read an
    input before its rank is known. The error of `ensure_shape` names its
    op and that op's input, so both have the input's name.

    Raises: InvalidArgumentError, in the graph, that names the input, for
        another rank or fixed size, and for numbers of rows that differ.
    """
    first, *others = (
        tf.ensure_shape(x, spec.shape, name=f"check_{spec.name}")
        for spec, x in zip(specs, inputs, strict=True)
    )
    checks = [
        tf.debugging.assert_equal(
            tf.shape(other, tf.int64)[0],
            tf.shape(first, tf.int64)[0],
            f"{spec.name} and {specs[0].name} differ in their numbers of rows.",
        )
        for spec, other in zip(specs[1:], others, strict=True)
    ]
    with tf.control_dependencies(checks):
        return [tf.identity(x) for x in (first, *others)]


def no_wider_than_full(table: tf.Tensor) -> tf.Tensor:
    """(B, N) as it is; of no rows, which may claim any width, (0, 0)."""
    width = tf.minimum(tf.shape(table, tf.int64)[1], tf.size(table, tf.int64))
    return table[:, :width]


def check_counts(
    counts: tf.Tensor, texts: tf.Tensor, name: str
) -> list[tf.Operation]:
    """Fails in the graph where a count is not from 0 to what there is."""
    return [
        tf.debugging.assert_non_negative(counts, f"{name} is below 0."),
        tf.debugging.assert_less_equal(
            counts,
            tf.shape(texts)[1],
            f"{name} is more than there are.",
        ),
    ]


def check_list(texts: Any) -> None:
    """Raises: ValueError for what has no rows, or is a text itself."""
    if isinstance(texts, str | bytes):
        raise ValueError(f"Got the text {texts!r}; needs a list.")
    try:
        len(texts)
    except TypeError:
        raise ValueError(f"Got {texts!r}; needs a list.") from None


def check_texts(column: Any, name: str, *, several: bool = False) -> None:
    """Checks that each row is a text, or a list of texts.

    Raises: ValueError for no list of rows; BadText for another row.
    """
    check_list(column)
    for index, row in enumerate(column):
        is_list = isinstance(row, Collection) and not isinstance(
            row, str | bytes | Mapping
        )
        texts: Any = row if is_list else [row]
        if is_list is not several or not all(
            isinstance(text, str | bytes) for text in texts
        ):
            needed = "a list of texts" if several else "a text"
            raise BadText(index, f"{name} is {row!r}; needs {needed}.")


def text_batches(
    columns: Sequence[Sequence[Text]], batch_size: int
) -> Iterator[list[tf.Tensor]]:
    """The texts of all columns, as tensors of so many at a time."""
    for start in range(0, len(columns[0]), batch_size):
        yield [_tensor(c[start : start + batch_size]) for c in columns]


def count_longer(
    rows: Iterable[Iterable[Sequence[Text]]],
    room: int,
    tokenizer: Callable[[tf.Tensor], tf.RaggedTensor],
) -> int:
    """How many rows have a group of texts with more tokens than allowed.

    Args:
        rows: the groups of each.
        room: most tokens of a group.
        tokenizer: (B,) string to (B, None).
    """
    long = [  # a token has a byte or more: most groups need no tokenizer
        (row, group)
        for row, groups in enumerate(rows)
        for group in groups
        if sum(len(encode(text)) for text in group) > room
    ]
    texts = [text for _, group in long for text in group]
    counts = itertools.chain.from_iterable(
        tokenizer(batch).row_lengths().numpy().tolist()
        for (batch,) in text_batches([texts], _TEXTS_AT_ONCE)
    )
    longer = {
        row
        for row, group in long
        if sum(itertools.islice(counts, len(group))) > room
    }
    return len(longer)


def encode(text: Text) -> bytes:
    """A lone surrogate becomes bytes that are not UTF-8, which is no error."""
    if isinstance(text, bytes):
        return text
    return text.encode("utf-8", "surrogatepass")


def readable(text: Text) -> str:
    """The text as JSON can have it: what is not UTF-8 becomes U+FFFD."""
    return encode(text).decode("utf-8", "replace")


def _size(texts) -> int:
    """About how long the text or texts of a row are."""
    if isinstance(texts, str | bytes):
        return len(texts)
    return sum(1 + len(text) for text in texts)


def _tensor(column) -> tf.Tensor:
    """(B,) string, or (B, N) with empty ones at the ends."""
    if not column or isinstance(column[0], str | bytes):
        return tf.constant([encode(text) for text in column], tf.string)
    longest = max(map(len, column))
    return tf.constant(
        [
            [encode(text) for text in row] + [b""] * (longest - len(row))
            for row in column
        ],
        tf.string,
        shape=(len(column), longest),
    )
