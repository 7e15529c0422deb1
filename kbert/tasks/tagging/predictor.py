# SPDX-License-Identifier: Apache-2.0
"""Texts, or lists of words, to the entities in them."""

import itertools
from types import MappingProxyType
from typing import Any

import tensorflow as tf

from kbert import features
from kbert.tasks.chunks import map_in_chunks
from kbert.tasks.predictor import (
    Predictor,
    check_counts,
    check_list,
    check_texts,
    encode,
    no_wider_than_full,
    readable,
)
from kbert.tasks.tagging import head
from kbert.text import alignment, windows
from kbert.text.packing import pack
from kbert.text.words import word_starts

# Names in the signatures, which clients see.
TEXT, WORDS, NUM_WORDS = "text", "words", "num_words"
ENTITIES, TYPES, SCORES, TAGS = "entities", "types", "scores", "tags"
STARTS, ENDS = "starts", "ends"
BYTE_STARTS, BYTE_ENDS = "byte_starts", "byte_ends"
FIRST_WORDS, LAST_WORDS = "first_words", "last_words"


class _Tagger(Predictor):
    """Finds entities among words, given or of a text."""

    def __init__(self, model, *, vocabulary, spec, tokenizer=None):
        super().__init__(
            model, vocabulary=vocabulary, spec=spec, tokenizer=tokenizer
        )
        self._table = head.label_table(spec.labels, spec.settings.aggregation)
        self.types = self._table.types

    def _tag_words(self, ids, word_of, num_words):
        """The tags and probabilities, (B, W) int32 and float32, of words.

        Each word has those of its first token, a word without tokens -1 and 0.

        Args:
            ids: (B, None) int32, of tokens.
            word_of: (B, None) int32, the word that each is of.
            num_words: W, int64.
        """
        tags, scores = self._tag_tokens(ids)
        row = ids.value_rowids()
        word = tf.stack([row, tf.cast(word_of.values, tf.int64)], axis=1)
        before = tf.concat([-tf.ones_like(word[:1]), word[:-1]], 0)
        first = _where(tf.reduce_any(word != before, axis=1))
        word, shape = tf.gather(word, first), (ids.nrows(), num_words)
        return (
            tf.scatter_nd(word, tf.gather(tags, first) + 1, shape) - 1,
            tf.scatter_nd(word, tf.gather(scores, first), shape),
        )

    def _tag_tokens(self, ids):
        """The outputs for all rows' tokens, each from its best window."""
        cut = windows.sliding_windows(
            ids.with_values(tf.range(tf.size(ids.values))),
            length=self.spec.max_seq_length - 2,
            stride=self.spec.settings.stride,
        )
        index = cut.ids

        def step(first, end):
            some = index[first:end]
            inputs, _ = pack(
                some.with_values(tf.gather(ids.values, some.values)),
                vocabulary=self.vocabulary,
                seq_length=self.spec.max_seq_length,
            )
            logits = self._model(inputs, training=False)[features.LOGITS]
            is_token = tf.sequence_mask(
                some.row_lengths(), tf.shape(logits)[1] - 1
            )
            return [tf.boolean_mask(logits[:, 1:], is_token)]  # no [CLS]

        (logits,) = map_in_chunks(
            step, tf.size(cut.row), [(None, len(self.spec.labels))]
        )
        best = _where(cut.best.values)
        index = tf.gather(index.values, best)[:, tf.newaxis]
        tags, scores = head.decode(tf.gather(logits, best))
        shape = [tf.size(ids.values)]
        return (tf.scatter_nd(index, x, shape) for x in (tags, scores))

    def _groups(self, *row):
        return []  # all is read, in windows

    def _entities(self, tags_BW, scores_BW):
        """The outputs that both signatures share, and the entities' spans.

        Args:
            tags_BW: int32, -1 where there is no word.
            scores_BW: float32, 0 for words without tokens, which do not count.
        Returns: {entities, types, scores}; a function that pads a value of
            each entity to (B, E); row and index of the first and the last
            words, each (entities, 2) int64.
        """
        type_BW, first_BW, last_BW = head.entity_bounds(tags_BW, self._table)
        firsts, lasts = tf.where(first_BW), tf.where(last_BW)
        is_first_BW = tf.cast(first_BW, tf.int32)
        count_B = tf.reduce_sum(is_first_BW, axis=1)
        number = tf.gather_nd(tf.cumsum(is_first_BW, axis=1) - 1, firsts)
        at = tf.stack([tf.cast(firsts[:, 0], tf.int32), number], axis=1)
        shape = [tf.size(count_B), tf.reduce_max(tf.concat([[0], count_B], 0))]

        def padded(values):
            return tf.scatter_nd(at, values, shape)

        inside = _where(tf.reshape(type_BW, [-1]) != 0)
        entity = tf.gather(tf.cumsum(tf.reshape(is_first_BW, [-1])), inside) - 1
        scores = tf.gather(tf.reshape(scores_BW, [-1]), inside)
        counted = tf.cast(scores > 0, tf.float32)
        scores, counted = (
            tf.math.segment_sum(x, entity) for x in (scores, counted)
        )
        type_of = tf.gather_nd(type_BW, firsts)  # 0 to pad
        outputs = {
            ENTITIES: count_B,
            TYPES: tf.gather(tf.constant(["", *self.types]), padded(type_of)),
            SCORES: padded(tf.math.divide_no_nan(scores, counted)),
        }
        return outputs, padded, firsts, lasts


class WordTagger(_Tagger):
    """Tags lists of words: the words are those that are given.

    Call: words (B, W) string, num_words (B,) int32, how many a row has
        -> {"tags": (B, W) string, "" where there is no word; "entities":
        (B,) int32, how many a row has; "types": (B, E) string, "scores":
        (B, E) float32, "first_words" and "last_words": (B, E) int32 of each
        entity}.
    `predict` is that of `TaggingPredictor`, for lists of words alone.
    """

    text_inputs = (WORDS,)
    several = (WORDS,)
    counts = MappingProxyType({WORDS: NUM_WORDS})

    def _outputs(self, *inputs):
        words_BW, counts_B = inputs
        words_BW = no_wider_than_full(words_BW)
        with tf.control_dependencies(
            check_counts(counts_B, words_BW, NUM_WORDS)
        ):
            words = tf.RaggedTensor.from_tensor(words_BW, lengths=counts_B)
        num_words = tf.shape(words_BW, tf.int64)[1]
        ids, word_of = alignment.tokenize_words(words, self._tokenizer)
        tags_BW, scores_BW = self._tag_words(ids, word_of, num_words)
        is_word_BW = tf.sequence_mask(counts_B, num_words)
        tags_BW = tf.where(is_word_BW, self._without_gaps(tags_BW), -1)
        outputs, padded, firsts, lasts = self._entities(tags_BW, scores_BW)
        return {
            **outputs,
            TAGS: tf.gather(tf.constant(["", *self.spec.labels]), tags_BW + 1),
            FIRST_WORDS: padded(tf.cast(firsts[:, 1], tf.int32)),
            LAST_WORDS: padded(tf.cast(lasts[:, 1], tf.int32)),
        }

    def _without_gaps(self, tags_BW):
        """The same; words without tokens get a tag from those around them."""
        # A word without a tag before each row separates it from the others.
        is_tag = tf.pad(tags_BW >= 0, [[0, 0], [1, 0]], constant_values=True)
        tags = tf.pad(tags_BW, [[0, 0], [1, 0]], constant_values=-1)
        given = tf.concat([tf.boolean_mask(tags, is_tag), [-1]], 0)
        number = tf.cumsum(tf.cast(tf.reshape(is_tag, [-1]), tf.int32))
        number = tf.reshape(number, tf.shape(tags))[:, 1:]
        before, after = tf.gather(given, number - 1), tf.gather(given, number)
        by_others = head.between(before, after, self._table)
        return tf.where(tags_BW >= 0, tags_BW, by_others)

    def _rows(self, outputs, columns):
        rows = []
        lists: Any = columns[0]
        for index, row in enumerate(lists):
            words = [readable(word) for word in row]
            text = " ".join(words)
            lengths = (len(word) + 1 for word in words)
            starts = list(itertools.accumulate(lengths, initial=0))
            found = []
            for entity, (first, last) in _found(
                outputs, index, FIRST_WORDS, LAST_WORDS
            ):
                start, end = starts[first], starts[last + 1] - 1
                entity |= {"text": text[start:end], "start": start, "end": end}
                found.append(entity | {"first_word": first, "last_word": last})
            tags = outputs[TAGS][index, : len(words)].tolist()
            rows.append({ENTITIES: found, TAGS: [x.decode() for x in tags]})
        return rows


class TaggingPredictor(_Tagger):
    """Finds the entities of texts, and of lists of words.

    Call: texts (B,) string -> {"entities": (B,) int32, how many a text has;
        "types": (B, E) string, "scores": (B, E) float32, "starts" and "ends":
        (B, E) int32 characters, "byte_starts" and "byte_ends": (B, E) int32
        bytes of each entity}. The words of a text are those of
        `kbert.text.words.word_starts`.
    `predict` takes rows that are texts or lists of words, and gives for each
        {"entities": [{"type", "score", "text", "start", "end"}, ...]}, the
        characters of the text, or of the words with a blank between two; for
        words also "first_word" and "last_word" of an entity, and {"tags":
        [the tag of each word, in IOB2]}.

    The score is the mean of the words' probabilities. An entity begins at a
    "B-" and at an "I-" that continues none: see `Settings` for other
    ways. Where labels are classes of words, each word is an entity whose type
    is its class. A word of which cleaning leaves nothing belongs to an entity
    that continues after it. Texts of any length are read whole, in windows.

    Attributes:
        types: of the entities.
        words: the predictor of lists of words; another signature of an export.
    """

    text_inputs = (TEXT,)

    def __init__(self, model, *, vocabulary, spec):
        super().__init__(model, vocabulary=vocabulary, spec=spec)
        self.words = WordTagger(
            model,
            vocabulary=vocabulary,
            spec=spec,
            tokenizer=self._tokenizer,
        )

    def _outputs(self, *texts):
        (texts_B,) = texts
        ids, starts, ends = self._tokenizer.with_spans(texts_B)
        begin = word_starts(texts_B, starts, ends)
        if self.spec.settings.aggregation == "simple":
            begin = begin.with_values(tf.ones_like(begin.values))
        number = tf.cumsum(tf.cast(begin.values, tf.int32))  # of all words
        # How many words there are before each row, and in the end.
        words = tf.gather(tf.concat([[0], number], 0), ids.row_splits)
        word_of = number - 1 - tf.gather(words, ids.value_rowids())
        longest = tf.reduce_max(tf.concat([[0], words[1:] - words[:-1]], 0))
        tags_BW, scores_BW = self._tag_words(
            ids,
            ids.with_values(word_of),
            tf.cast(longest, tf.int64),
        )
        outputs, padded, firsts, lasts = self._entities(tags_BW, scores_BW)

        first_token = _where(begin.values)
        stop = tf.ones_like(begin.values[:1])
        last_token = _where(tf.concat([begin.values[1:], stop], 0))
        for token, words_in_row, offsets, names in (
            (first_token, firsts, starts, (BYTE_STARTS, STARTS)),
            (last_token, lasts, ends, (BYTE_ENDS, ENDS)),
        ):
            row, word = (
                words_in_row[:, 0],
                tf.cast(words_in_row[:, 1], tf.int32),
            )
            index = tf.gather(token, tf.gather(words, row) + word)
            characters = alignment.character_offsets(texts_B, offsets)
            for name, values in zip(names, (offsets, characters), strict=True):
                outputs[name] = padded(tf.gather(values.values, index))
        return outputs

    def _rows(self, outputs, columns):
        rows = []
        texts: Any = columns[0]
        for index, text in enumerate(texts):
            found = []
            for entity, (start, end, *in_bytes) in _found(
                outputs, index, STARTS, ENDS, BYTE_STARTS, BYTE_ENDS
            ):
                part = readable(encode(text)[slice(*in_bytes)])
                found.append(
                    entity | {"text": part, "start": start, "end": end}
                )
            rows.append({ENTITIES: found})
        return rows

    def signatures(self):
        return super().signatures() | {WORDS: self.words.signature()}

    def predict(
        self,
        *columns,
        batch_size=32,
        progress=lambda done, total: None,
    ):
        """For texts and lists of words, as `Predictor.predict`."""
        if len(columns) != 1:
            return super().predict(*columns)  # which refuses them
        (rows,) = columns
        check_list(rows)
        is_text = [isinstance(row, str | bytes) for row in rows]
        lists = [
            [row] if one else row
            for row, one in zip(rows, is_text, strict=True)
        ]
        check_texts(lists, WORDS, several=True)
        found: dict[int, dict[str, Any]] = {}
        for one, predict in (
            (True, super().predict),
            (False, self.words.predict),
        ):
            indices = [i for i, x in enumerate(is_text) if x is one]
            if not indices:  # no need to make the graph
                continue
            before = len(found)
            rows_of_kind = predict(
                [rows[i] for i in indices],
                batch_size=batch_size,
                progress=lambda done, _, before=before: progress(
                    before + done, len(rows)
                ),
            )
            found.update(zip(indices, rows_of_kind, strict=True))
        return [found[i] for i in range(len(rows))]


def _where(condition):
    """The indices in one axis where it is True."""
    return tf.where(condition)[:, 0]


def _found(outputs, row, *names):
    """Type and score of each entity of a row, and its numbers by name."""
    for number in range(outputs[ENTITIES][row]):
        yield (
            {
                "type": outputs[TYPES][row, number].decode(),
                "score": float(outputs[SCORES][row, number]),
            },
            [int(outputs[name][row, number]) for name in names],
        )
