# SPDX-License-Identifier: Apache-2.0
"""Named entities among the words of sentences."""

import collections

from kbert.data import conll, tagged_words
from kbert.data.conll import Sentences
from kbert.runs.jobs.job import Job
from kbert.serving.tagging import TAGS
from kbert.tasks import TaskSpec, tagging
from kbert.text.tokenizer import Tokenizer


class TaggingJob(Job[Sentences]):
    """A CoNLL file: a word a line, its tag in the last column."""

    task = "tagging"
    metric = tagging.METRIC
    takes = ("labels",)

    def read(self, path, spec=None):
        return conll.read(path, self.options.encoding)

    def read_texts(self, path):
        return conll.read(path, self.options.encoding, labelled=False)

    def spec(self, rows):
        types = {tag[2:] for row in rows.tags for tag in row} - {""}
        if not types:
            raise ValueError(
                f"{rows.path}: the only tag is {tagging.OUTSIDE!r}; wanted "
                "entities."
            )
        labels = tagging.labels_of(self.options.labels or sorted(types))
        conll.tag_ids(rows, labels)  # a wrong one is named
        return TaskSpec(
            task="tagging",
            max_seq_length=self.options.max_seq_length,
            labels=labels,
            settings=tagging.Settings(
                **{
                    # Each word has a quarter of the length around it.
                    "stride": max(1, self.options.max_seq_length // 2),
                    **self.options.settings,
                }
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
        return tagging.losses()

    def metrics(self, spec):
        return tagging.metrics()

    def scores(self, answers, rows, spec):
        return tagging.scores([answer[TAGS] for answer in answers], rows.tags)

    def row_scores(self, answers, rows, spec):
        """The share of its words that are tagged right."""
        return [
            sum(map(str.__eq__, answer[TAGS], tags)) / len(tags)
            for answer, tags in zip(answers, rows.tags, strict=True)
        ]

    def label_counts(self, rows):
        """Of the entities, by their type."""
        begun = (x[2:] for row in rows.tags for x in row if x[:2] == "B-")
        return collections.Counter(begun)

    def wanted(self, rows, place):
        return rows.tags[place]

    def class_report(self, answers, rows, spec):
        found = [answer[TAGS] for answer in answers]
        return tagging.class_report(found, rows.tags)
