# SPDX-License-Identifier: Apache-2.0
"""Each task is a functional model that learns in a user's `model.fit`."""

import dataclasses
import json

import pytest

from kbert import tasks
from kbert.checkpoints.folder import LoadedModel
from kbert.data import batching
from kbert.tasks.rows import DataOptions
from kbert.training.optimizer import AdamW

CONLL = "the O\nfilm B-x\n. O\n\nbad B-y\nfilm I-y\nwas O\nlong O\n"
CONTEXT = "the film was good . not very long ."
ANSWERS = [("film", 4), ("very long", 24)]
QUESTIONS = [
    {
        "id": text,
        "question": text.split()[-1],
        "answers": [{"text": text, "answer_start": start}],
    }
    for text, start in ANSWERS
]
SQUAD = {"data": [{"paragraphs": [{"context": CONTEXT, "qas": QUESTIONS}]}]}
CHOICES = "text,a,b,label\nthe film,good,bad,0\nnot long,very long,film,1\n"
RERANKED = "query,text,b,c\nfilm,good,bad,the\nlong,not,the,bad\n"
SENTENCES = ["the film .", "good .", "was bad ."]
DOCUMENTS = [[0, 1, 0], [1, 0, 0]]
# By task: the file, how it is read, and the scores when all is right.
FILES = {
    "classification": (
        "a.tsv",
        "text\tlabel\ngood film\t1\nbad film\t0\nnot long\t2\n",
        {},
        {"accuracy": 1, "macro_f1": 1},
    ),
    "regression": (
        "a.tsv",
        "text\tlabel\ngood film\t2\nbad film\t0.5\nnot long\t1\n",
        {},
        {"spearman": 1},
    ),
    "tagging": (
        "a.conll",
        CONLL,
        {"text_columns": None},
        {"f1": 1, "strict_f1": 1},
    ),
    "question_answering": (
        "a.json",
        json.dumps(SQUAD),
        {"text_columns": None, "settings": {"max_query_length": 4}},
        {"exact_match": 1, "f1": 1},
    ),
    "multiple_choice": (
        "a.csv",
        CHOICES,
        {"choice_columns": ["a", "b"]},
        {"accuracy": 1},
    ),
    "reranking": (
        "a.csv",
        RERANKED,
        {
            "text_columns": ["query", "text", "b", "c"],
            "settings": {"loss": "list"},
        },
        {"mrr@10": 1, "ndcg@10": 1},
    ),
    "summarization": (
        "a.jsonl",
        "\n".join(
            json.dumps({"sentences": SENTENCES[::step], "labels": labels})
            for step, labels in zip((1, -1), DOCUMENTS, strict=True)
        ),
        {"text_columns": None, "settings": {"num_sentences": 1}},
        {"precision": 1, "rouge_l": 1},
    ),
    "embedding": (
        "a.csv",
        "text,b\ngood film,the good\nbad film,was bad\nnot long,very .\n"
        "film,was was\n",
        {"text_columns": ["text", "b"]},
        {"mrr@10": 1, "accuracy@1": 1},
    ),
}


def test_all_tasks_are_here():
    assert FILES.keys() == {*tasks.FINE_TUNED}


# What only they have is learnt through the command's loop too.
_QUICK = ("classification", "tagging")


@pytest.mark.parametrize(
    "task",
    [
        task if task in _QUICK else pytest.param(task, marks=pytest.mark.slow)
        for task in FILES
    ],
)
def test_it_learns_a_handful_of_rows(task, tmp_path, tiny_config, vocabulary):
    name, text, options, perfect = FILES[task]
    if task == "summarization":
        pytest.importorskip("rouge_score")
    (tmp_path / name).write_text(text, "utf-8")
    reading = {"text_columns": ["text"], "max_seq_length": 20, **options}
    made, data = tasks.task_class(task), DataOptions(**reading)
    rows = made.read(str(tmp_path / name), data)
    spec = made.new_spec(rows, data)
    config = dataclasses.replace(
        tiny_config,
        num_hidden_layers=1,
        initializer_range=0.2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = tasks.build(config, spec)
    learner = made(LoadedModel(model, config, vocabulary, spec))
    model.compile(
        optimizer=AdamW(5e-3),
        loss=learner.losses(),
        weighted_metrics=learner.metrics(),
        jit_compile=False,
    )
    examples = learner.examples(rows)
    batches = batching.dataset(examples, batch_size=4, seed=0)
    model.fit(batches, steps_per_epoch=100, verbose=0)
    scores = learner.scores(learner.predict_rows(rows, batch_size=4), rows)
    for score, want in perfect.items():
        assert scores[score] == pytest.approx(want), scores
