# SPDX-License-Identifier: Apache-2.0
"""What an export answers, of all tasks."""

import functools

import pytest

from kbert.serving.signatures import Signatures
from kbert.tasks import TaskSpec

LENGTH = 16
# By name, one of each task, and of each kind of answer that it has.
SPECS = {
    name: TaskSpec(**{"task": name, "max_seq_length": LENGTH, **fields})
    for name, fields in {
        "classification": {"labels": ("bad", "so-so", "schön")},
        "pairs": {
            "task": "classification",
            "labels": ("no", "yes"),
            "num_texts": 2,
        },
        "several_labels": {
            "task": "classification",
            "labels": ("a", "b", "c"),
            "settings": {"multi_label": True},
        },
        "regression": {},
        "long_texts": {
            "task": "classification",
            "labels": ("a", "b", "c"),
            "settings": {"long_texts": "windows", "stride": 5},
        },
        "tagging": {
            "labels": ("O", "B-x", "I-x"),
            "settings": {"stride": 5},
        },
        "word_classes": {"task": "tagging", "labels": ("DT", "NN", "VBD")},
        "tagging_by_token": {
            "task": "tagging",
            "labels": ("O", "B-x", "I-x"),
            "settings": {"stride": 5, "aggregation": "simple"},
        },
        "joined_entities": {
            "task": "tagging",
            "labels": ("O", "B-x", "S-x"),
            "settings": {"stride": 5, "aggregation": "joined"},
        },
        "question_answering": {
            "num_texts": 2,
            "settings": {
                "max_query_length": 6,
                "stride": 4,
                "max_answer_length": 5,
                "no_answer": True,
            },
        },
        "several_answers": {
            "task": "question_answering",
            "num_texts": 2,
            "settings": {
                "max_query_length": 6,
                "stride": 4,
                "several_answers": True,
                "threshold": 0.1,
            },
        },
        "multiple_choice": {"settings": {"num_choices": 3}},
        "reranking": {},
        "summarization": {"settings": {"num_sentences": 2}},
        "embedding": {
            "settings": {
                "dense": ["6:tanh"],
                "normalize": True,
                "query_prompt": "the ",
                "document_prompt": "very ",
            }
        },
        "pretraining": {},
        "masked_lm": {},
        "next_sentence": {},
        "encoder": {},
    }.items()
}


@pytest.fixture(scope="session")
def signatures(build, vocabulary):
    """A function of a name of `SPECS`: what an export of that task answers.

    Made once for all tests, whose graphs take long to trace.
    """

    @functools.cache
    def signatures(task):
        spec = SPECS[task]
        return Signatures(build(spec), vocabulary=vocabulary, spec=spec)

    return signatures
