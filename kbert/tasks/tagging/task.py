# SPDX-License-Identifier: Apache-2.0
"""Named entities among the words of sentences."""

import collections
from itertools import chain

from kbert.data import tables
from kbert.tasks import inputs
from kbert.tasks.labelled import LabelledTask
from kbert.tasks.tagging import conll, head, metrics, tag_schemes
from kbert.tasks.tagging import examples as tagged_words
from kbert.tasks.tagging.predictor import TAGS


class Tagger(LabelledTask):
    """Entities among words, or classes of words such as parts of speech.

    Texts to train on are lists of words, labels lists of their tags: IOB2
    ("B-PER", "I-PER", "O"), IOB1, BIOES, BILOU or classes. `labels=` lists
    the tags of the model, in IOB2 or classes. `predict` takes strings and
    lists of words, and gives {"entities": [{"type", "score", "text", "start",
    "end"}, ...]} for each; of words also "tags".

    Example:
        model = kbert.Tagger.from_pretrained(
            "bert-base-cased", labels=["O", "B-PER", "I-PER"]
        )
        model.fit([["Ada", "Lovelace", "wrote"]], [["B-PER", "I-PER", "O"]])
        model.predict(["Ada Lovelace wrote it."])
    """

    task = "tagging"
    metric = metrics.METRIC
    row_score = "share of right tags"
    takes = ("labels", "tag_scheme")

    @classmethod
    def _read(cls, path, options, spec):
        lenient = options.tag_scheme == "lenient"
        rows = conll.read(path, options.encoding, lenient=lenient)
        known = options.labels or ()
        if spec:
            known = head.label_table(spec.labels).types
        tables.check_labels(
            path,
            [*chain(*rows.word_lines)],
            conll.labels_by_word(rows),
            known,
        )
        return rows

    @classmethod
    def read_texts(cls, path, options):
        return conll.read_texts(path, options.encoding)

    @classmethod
    def _spec_fields(cls, rows, options):
        tags = {tag for row in rows.tags for tag in row}
        if len(tags) < 2 and (rows.scheme is None or tags == {"O"}):
            raise ValueError(
                f"{rows.path}: the only tag is {tags.pop()!r}; expected others."
            )
        labels = tuple(options.labels or sorted(tags))
        if rows.scheme is not None:  # the tags of entities
            types = {tag[2:] for tag in tags} - {""}
            labels = head.labels_of(options.labels or sorted(types))
        conll.tag_ids(rows, labels)  # a wrong one is named
        return {"labels": labels}

    @classmethod
    def label_counts(cls, rows, options):
        """Of the entities, by their type; of words, where tags mark none."""
        if rows.scheme is None:
            return collections.Counter(x for row in rows.tags for x in row)
        first = (x[2:] for row in rows.tags for x in row if x[:2] == "B-")
        return collections.Counter(first)

    def rows(self, x, y):
        (words,) = inputs.columns(x)
        tags = inputs.labels(y, len(words))
        for row, (own_words, own_tags) in enumerate(
            zip(words, tags, strict=True), 1
        ):
            if not all(
                isinstance(own, list) and {*map(type, own)} == {str}
                for own in (own_words, own_tags)
            ):
                raise ValueError(
                    f"Row {row}: {own_words!r} with tags {own_tags!r}; needs "
                    "lists of words and of their tags."
                )
            if len(own_words) != len(own_tags):
                raise ValueError(
                    f"Row {row}: {len(own_tags)} tags for {len(own_words)} "
                    "words; needs one for each."
                )
        lines = [[row] * len(own) for row, own in enumerate(words, 1)]
        return conll.of_lists(lines, words, tags)

    def examples(self, rows):
        return tagged_words.examples(
            rows.words,
            conll.tag_ids(rows, self.spec.labels),
            tokenizer=self.tokenizer,
            max_seq_length=self.spec.max_seq_length,
            stride=self.spec.settings.stride,
        )

    @property
    def selection_metric(self):
        """F1 of entities, or the accuracy of words."""
        return self.metric if self._marks_entities else metrics.WORD_METRIC

    def labels(self, rows):
        """In the scheme of the model's, which its predictions have."""
        return conll.tags_by_labels(rows, self.spec.labels)

    def scores(self, predictions, rows):
        found = [row[TAGS] for row in predictions]
        if not self._marks_entities:
            return metrics.word_scores(found, rows.tags)
        if not any(label[0] in "BSU" for label in self.spec.labels):
            found = self._tags(predictions)  # no I- of such a model is stray
        return metrics.scores(found, rows.tags)

    def row_scores(self, predictions, rows):
        """The share of its words that are tagged right."""
        pairs = zip(self._tags(predictions), rows.tags, strict=True)
        return [
            sum(map(str.__eq__, found, tags)) / len(tags)
            for found, tags in pairs
        ]

    def class_report(self, predictions, rows):
        found = self._tags(predictions)
        if not self._marks_entities:
            return metrics.word_class_report(found, rows.tags)
        return metrics.class_report(found, rows.tags)

    @property
    def _marks_entities(self) -> bool:
        return head.mark_entities(self.spec.labels)

    def _tags(self, predictions) -> list[list[str]]:
        """Of all rows, in IOB2 as the files' if they mark entities."""
        found = [row[TAGS] for row in predictions]
        if not self._marks_entities:
            return found
        return [tag_schemes.to_iob2(tags) for tags in found]
