# SPDX-License-Identifier: Apache-2.0
"""Named entities among the words of sentences."""

import collections
from itertools import chain

from kbert.data import tables
from kbert.tasks import TaskSpec, inputs
from kbert.tasks.job import Job
from kbert.tasks.tagging import conll, head, metrics, tag_schemes
from kbert.tasks.tagging import examples as tagged_words
from kbert.tasks.tagging.conll import Sentences
from kbert.tasks.tagging.predictor import TAGS
from kbert.tasks.task import Task
from kbert.text.tokenizer import Tokenizer


class TaggingJob(Job[Sentences]):
    """A CoNLL file: a word a line, its tag in the last column; or CoNLL-U.

    Tags mark entities, or they are classes of words.
    """

    task = "tagging"
    metric = metrics.METRIC
    row_score = "share of right tags"
    takes = ("labels", "tag_scheme")

    def metric_of(self, spec):
        """F1 of entities, or the accuracy of words."""
        marks = head.mark_entities(spec.labels)
        return self.metric if marks else metrics.WORD_METRIC

    def read(self, path, spec=None):
        lenient = self.options.tag_scheme == "lenient"
        rows = conll.read(path, self.options.encoding, lenient=lenient)
        known = self.options.labels or ()
        if spec:
            known = head.label_table(spec.labels).types
        tables.check_labels(
            path,
            [*chain(*rows.word_lines)],
            conll.labels_by_word(rows),
            known,
        )
        return rows

    def read_texts(self, path):
        return conll.read_texts(path, self.options.encoding)

    def rows(self, x, y, spec):
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

    def spec(self, rows):
        tags = {tag for row in rows.tags for tag in row}
        if len(tags) < 2 and (rows.scheme is None or tags == {"O"}):
            raise ValueError(
                f"{rows.path}: the only tag is {tags.pop()!r}; expected others."
            )
        labels = tuple(self.options.labels or sorted(tags))
        if rows.scheme is not None:  # the tags of entities
            types = {tag[2:] for tag in tags} - {""}
            labels = head.labels_of(self.options.labels or sorted(types))
        conll.tag_ids(rows, labels)  # a wrong one is named
        return TaskSpec(
            task="tagging",
            max_seq_length=self.options.max_seq_length,
            labels=labels,
            settings=head.HEAD.settings_of(
                self.options.max_seq_length, self.options.settings
            ),
        )

    def examples(self, rows, spec, vocabulary):
        return tagged_words.examples(
            rows.words,
            conll.tag_ids(rows, spec.labels),
            tokenizer=Tokenizer(vocabulary),
            max_seq_length=spec.max_seq_length,
            stride=spec.settings.stride,
        )

    def losses(self, spec):
        return head.losses()

    def metrics(self, spec):
        return head.metrics()

    def scores(self, answers, rows, spec):
        found = [answer[TAGS] for answer in answers]
        if not head.mark_entities(spec.labels):
            return metrics.word_scores(found, rows.tags)
        if not any(label[0] in "BSU" for label in spec.labels):
            found = _tags(answers, spec)  # no I- of such a model is stray
        return metrics.scores(found, rows.tags)

    def row_scores(self, answers, rows, spec):
        """The share of its words that are tagged right."""
        return [
            sum(map(str.__eq__, found, tags)) / len(tags)
            for found, tags in zip(_tags(answers, spec), rows.tags, strict=True)
        ]

    def label_counts(self, rows):
        """Of the entities, by their type; of words, where tags mark none."""
        if rows.scheme is None:
            return collections.Counter(x for row in rows.tags for x in row)
        begun = (x[2:] for row in rows.tags for x in row if x[:2] == "B-")
        return collections.Counter(begun)

    def wanted(self, rows, place):
        return rows.tags[place]

    def class_report(self, answers, rows, spec):
        found = _tags(answers, spec)
        if not head.mark_entities(spec.labels):
            return metrics.word_class_report(found, rows.tags)
        return metrics.class_report(found, rows.tags)


def _tags(answers, spec) -> list[list[str]]:
    """The tags of all answers, in IOB2 as the rows' if they mark entities."""
    found = [answer[TAGS] for answer in answers]
    if not head.mark_entities(spec.labels):
        return found
    return [tag_schemes.to_iob2(tags) for tags in found]


class Tagger(Task):
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
    job = TaggingJob
