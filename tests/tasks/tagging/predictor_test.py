# SPDX-License-Identifier: Apache-2.0
"""Entities of texts and of lists of words, against plain Python."""

import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf

from kbert import tasks
from kbert.tasks import TaskSpec
from kbert.tasks.predictor import make_predictor
from kbert.tasks.tagging import head
from kbert.tasks.tagging import predictor as serving
from kbert.tasks.tagging.settings import Settings
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from kbert.text.words import word_starts

LABELS = head.labels_of(("loc", "per"))
TOKENS = (
    *SPECIAL_TOKENS,
    *("the", "film", "caf", "##e", "##s", "not", "long", "##er", "good"),
    *"'.,-()日本s",
)
LENGTH, STRIDE = 10, 3
TEXTS = [
    "the film, (not longer) 'good'.",
    "Cafe\u0301s 日本film 😀 the Café.",
    "the longer films " * 12 + "日本 " * 5,  # nine windows and more
    "",
    "  \u200b ",
    "good\u200bfilm, the U\u0301nknown",
    "film's the-long.",
    *(" ".join(("not", "the", "日", "café")[:n]) for n in range(1, 5)),
]
ROWS = [
    ["the", "longer", "\u200b", "film"],
    [],
    ["the film", "", "日本", "cafés", "(not)"],
    ["longer", "café", "日本"] * 14,
    ["", ""],
    ["Café"],
]


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary(TOKENS, True)


_MADE = {}  # tracing takes a while


@pytest.fixture
def server(tiny_config, vocabulary):
    """Its model tells tokens apart, at random."""
    if "server" not in _MADE:
        config = dataclasses.replace(
            tiny_config, vocab_size=len(TOKENS), num_hidden_layers=1
        )
        spec = TaskSpec(
            task="tagging",
            max_seq_length=LENGTH,
            labels=LABELS,
            settings=Settings(stride=STRIDE),
        )
        model = tasks.build(config, spec)
        rng = np.random.default_rng(5)
        for variable in model.weights:
            variable.assign(variable + 0.4 * rng.normal(size=variable.shape))
        kernel, bias = model.get_layer("tagger").weights
        kernel.assign(rng.normal(size=kernel.shape))
        bias.assign([1, 0, 0, 0, 0])
        _MADE["model"] = model
        _MADE["server"] = make_predictor(
            model, vocabulary=vocabulary, spec=spec
        )
    return _MADE["server"]


def tagged(subwords):
    """Tag and probability of each subword of one text, window by window."""
    room, starts = LENGTH - 2, [0]
    while starts[-1] + room < len(subwords):
        starts.append(starts[-1] + STRIDE)
    best = [(-1,)] * len(subwords)
    rows = [[2, *subwords[s : s + room], 3] for s in starts]
    longest = max(map(len, rows))
    ids = np.array([row + [0] * (longest - len(row)) for row in rows])
    mask = np.array([[1] * len(r) + [0] * (longest - len(r)) for r in rows])
    inputs = {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": mask}
    logits = _MADE["model"](inputs)["logits"].numpy()
    for start, row, numbers in zip(starts, rows, logits, strict=True):
        size = len(row) - 2
        for left, each in enumerate(numbers[1 : size + 1]):
            context = min(left, size - 1 - left) + 0.01 * size
            if context > best[start + left][0]:
                share = np.exp(each - each.max())
                share = share.max() / share.sum()
                best[start + left] = context, each.argmax(), share
    return [found[1:] for found in best]


def entities(tags, scores):
    """Type, mean score, first and last word: conlleval's rule."""
    found, previous = [], "O"
    for position, tag in enumerate(tags):
        if tag != "O":
            if tag[0] == "B" or tag[2:] != previous[2:]:
                found.append((tag[2:], []))
            found[-1][1].append(position)
        previous = tag
    return [
        (
            name,
            np.nanmean([scores[i] for i in positions]),
            positions[0],
            positions[-1],
        )
        for name, positions in found
    ]


def of_words(words, tokenizer):
    """The tags of given words, and the entities."""
    cut = [tokenizer([word])[0].numpy().tolist() for word in words]
    found = iter(tagged(sum(cut, [])))
    tags, scores = [], []
    for subwords in cut:
        first, *_ = [next(found) for _ in subwords] or [(None, np.nan)]
        tags.append(first[0] if first[0] is None else LABELS[first[0]])
        scores.append(first[1])
    given = [position for position, tag in enumerate(tags) if tag]
    for position in [position for position, tag in enumerate(tags) if not tag]:
        before = (
            "O" if position < min(given, default=99) else tags[position - 1]
        )
        after = tags[next((i for i in given if i > position), 0)] or "O"
        same = after[0] == "I" and before[1:].strip("-") == after[2:]
        tags[position] = after if same and given[-1] > position else "O"
    return tags, entities(tags, scores)


def of_text(text, tokenizer):
    """The entities, their words' positions changed to bytes."""
    ids, *spans = tokenizer.with_spans([text])
    begin = word_starts(tf.constant([text]), *spans)
    words = []
    for subword, (begins, start, end) in enumerate(
        np.stack([x[0] for x in (begin, *spans)], 1).tolist()
    ):
        if begins:
            words.append([subword, start, end])
        words[-1][2] = end
    found = tagged(ids[0].numpy().tolist())
    firsts = [found[subword] for subword, _, _ in words]
    return [
        (name, score, words[first][1], words[last][2])
        for name, score, first, last in entities(
            [LABELS[tag] for tag, _ in firsts], [s for _, s in firsts]
        )
    ]


def close(value):
    return pytest.approx(value, abs=1e-5)


def test_texts_against_plain_python(server, vocabulary):
    tokenizer = Tokenizer(vocabulary)
    texts = [text.strip("|") for text in TEXTS]
    answers = server(tf.constant(texts))
    rows = server.predict(texts, batch_size=4)
    total = 0
    for number, (text, row) in enumerate(zip(texts, rows, strict=True)):
        want, raw = [], text.encode()
        for name, score, start, end in of_text(text, tokenizer):
            part, before = raw[start:end].decode(), len(raw[:start].decode())
            want.append(
                {
                    "type": name,
                    "score": close(score),
                    "text": part,
                    "start": before,
                    "end": before + len(part),
                }
            )
            position = number, len(want) - 1
            names = ("types", "byte_starts", "byte_ends")
            found = [answers[x][position].numpy() for x in names]
            assert found == [name.encode(), start, end]
        assert row == {"entities": want}
        assert all(text[e["start"] : e["end"]] == e["text"] for e in want)
        assert answers["entities"][number] == len(want)
        total += len(want)
    assert total > 30 and len({e["type"] for e in rows[2]["entities"]}) == 2


def test_lists_of_words_against_plain_python(server, vocabulary):
    tokenizer = Tokenizer(vocabulary)
    rows = server.predict(ROWS, batch_size=4)
    for words, row in zip(ROWS, rows, strict=True):
        tags, found = of_words(words, tokenizer)
        want = []
        for name, score, first, last in found:
            start = len(" ".join([*words[:first], ""]))
            part = " ".join(words[first : last + 1])
            want.append(
                {
                    "type": name,
                    "score": close(score),
                    "text": part,
                    "start": start,
                    "end": start + len(part),
                    "first_word": first,
                    "last_word": last,
                }
            )
        assert row == {"entities": want, "tags": tags}
    assert len(rows[3]["entities"]) > 5


def test_texts_and_lists_of_words_in_one_call(server):
    done = []
    mixed = [ROWS[0], TEXTS[0], TEXTS[6], ROWS[2], ["good", "film"]]
    rows = server.predict(
        mixed, batch_size=2, progress=lambda *step: done.append(step)
    )
    assert done == [(2, 5), (4, 5), (5, 5)]
    for row, got in zip(mixed, rows, strict=True):
        (alone,) = server.predict([row])
        assert _rounded(got) == _rounded(alone)
    assert ["tags" in row for row in rows] == [1, 0, 0, 1, 1]
    assert server.predict([]) == []
    with pytest.raises(ValueError, match="Got 2 lists of texts; this model"):
        server.predict(["a"], ["b"])


def _rounded(row):
    return [
        {**entity, "score": round(entity["score"], 3)}
        for entity in row["entities"]
    ], row.get("tags")


def test_a_text_of_plain_words_is_as_its_words(server):
    words = ["the", "longer", "film", "日", "(", "Café", ")", "."] * 4
    (text,) = server.predict(["the longer film 日 (Café). " * 4])
    (listed,) = server.predict([words])
    assert len(text["entities"]) > 4
    for a, b in zip(text["entities"], listed["entities"], strict=True):
        assert (a["type"], a["score"]) == (b["type"], close(b["score"]))
        assert a["text"].replace(" ", "") == b["text"].replace(" ", "")


def test_bytes_that_are_no_utf8(server):
    whole, broken, surrogate = server.predict(
        ["the film good", b"the\xff \xc3film good", "the\ud800 film good"]
    )
    found = [[e["type"] for e in x["entities"]] for x in (whole, broken)]
    assert found[0] and found[0] == found[1]
    assert len(surrogate["entities"]) == len(whole["entities"])
    (row,) = server.predict([[b"the\xff", "film", "\ud800good"]])
    assert len(row["tags"]) == 3


def test_no_rows(server):
    none, counts = tf.zeros([0, 0], tf.string), tf.zeros([0], tf.int32)
    for answers in (
        server.signature()(tf.zeros([0], tf.string)),
        server.words.signature()(none, counts),
    ):
        assert {x.shape[0] for x in answers.values()} == {0}


@pytest.mark.parametrize("row", [None, 3, ["a", 1], ["a", ["b"]], [["a"]]])
def test_a_row_that_is_neither_text_nor_words(row, server):
    with pytest.raises(ValueError, match="^Text 3: words is .* list of texts"):
        server.predict(["a", ["b", "c"], row])


@pytest.fixture
def by_token(vocabulary):
    """A function of labels, settings and logits of each token: a predictor."""

    def by_token(labels, logits, **settings):
        def model(inputs, training):
            table = tf.constant(logits, tf.float32)
            return {"logits": tf.gather(table, inputs["token_ids"])}

        spec = TaskSpec(
            task="tagging", max_seq_length=9, labels=labels, settings=settings
        )
        return serving.TaggingPredictor(model, vocabulary=vocabulary, spec=spec)

    return by_token


def _always(labels, tags):
    """Logits that give tokens a tag, and others the first label."""
    logits = np.full((len(TOKENS), len(labels)), -50.0)
    logits[:, 0] = 0
    for token, tag in tags.items():
        logits[TOKENS.index(token), labels.index(tag)] = 1
    return logits


def _found(row):
    return [
        (e["type"], e["first_word"], e["last_word"]) for e in row["entities"]
    ]


def test_words_without_tokens_do_not_split_an_entity(by_token):
    tags = {"good": "B-loc", "film": "I-loc", "not": "I-per"}
    server = by_token(LABELS, _always(LABELS, tags))
    for words, want, entities_ in (
        (["good", "\u200b", "film"], "B I I", [("loc", 0, 2)]),
        (["good", "\u200b", "", "film", "film"], "B I I I I", [("loc", 0, 4)]),
        (["good", "\u200b", "the"], "B O O", [("loc", 0, 0)]),
        (["good", "\u200b"], "B O", [("loc", 0, 0)]),
        (["\u200b", "film"], "O I", [("loc", 1, 1)]),
        (["good", "\u200b", "good"], "B O B", [("loc", 0, 0), ("loc", 2, 2)]),
        (["good", "\u200b", "not"], "B O I", [("loc", 0, 0), ("per", 2, 2)]),
        (["\u200b"], "O", []),
    ):
        # The rows around end and begin with what would continue.
        _, row, _ = server.predict([["the", "good"], words, ["film"]])
        assert [tag[0] for tag in row["tags"]] == want.split()
        assert _found(row) == entities_
    (row,) = server.predict([["good", "\u200b", "film"]])
    share = 1 / (1 + 1 / np.e)  # of either word, and so of both
    assert row["entities"][0]["score"] == close(share)


CLASSES = (".", "DET", "NOUN", "O")


def test_classes_of_words(by_token):
    tags = {"the": "DET", "film": "NOUN", "caf": "NOUN", "not": "O"}
    server = by_token(CLASSES, _always(CLASSES, tags))
    text, listed, empty = server.predict(
        ["the film, not cafés", ["the", "\u200b", "cafés", "not"], ["", "film"]]
    )
    assert [(e["type"], e["text"]) for e in text["entities"]] == [
        *(("DET", "the"), ("NOUN", "film"), (".", ",")),
        *(("O", "not"), ("NOUN", "cafés")),
    ]
    assert listed["tags"] == ["DET", "DET", "NOUN", "O"]
    assert _found(listed) == [(t, i, i) for i, t in enumerate(listed["tags"])]
    assert [e["score"] > 0 for e in listed["entities"]] == [1, 0, 1, 1]
    assert empty["tags"] == ["NOUN", "NOUN"]
    (none,) = server.predict([["", "\u200b"]])
    assert none["tags"] == ["O", "O"]
    answers = server.signature()(tf.constant(["the film", ""]))
    assert answers["types"].numpy().tolist() == [[b"DET", b"NOUN"], [b"", b""]]
    assert answers["entities"].numpy().tolist() == [2, 0]


def test_entities_side_by_side_are_joined(by_token):
    tags = {"good": "B-per", "film": "B-per", "not": "I-per", "long": "B-loc"}
    rows = ["good film not long the film", ["good", "", "film", "long"]]

    def found(aggregation):
        server = by_token(
            LABELS, _always(LABELS, tags), aggregation=aggregation
        )
        return [
            [(e["type"], e["text"]) for e in row["entities"]]
            for row in server.predict(rows)
        ]

    apart = [("per", "good"), ("per", "film not"), ("loc", "long")]
    assert found("first") == [
        [*apart, ("per", "film")],
        [("per", "good"), ("per", "film"), ("loc", "long")],
    ]
    assert found("joined") == [
        [("per", "good film not"), ("loc", "long"), ("per", "film")],
        [("per", "good  film"), ("loc", "long")],
    ]


@pytest.mark.parametrize("aggregation", ["first", "simple"])
@pytest.mark.parametrize("labels", [LABELS, ("O", "PER", "LOC")])
def test_aggregation_is_that_of_transformers(
    by_token, vocabulary, aggregation, labels
):
    """Its pipeline on the same logits, of texts whose words it parts alike."""
    if labels != LABELS and aggregation == "first":
        pytest.skip("Each word has its class; the pipeline joins them.")
    module = pytest.importorskip("transformers.pipelines.token_classification")
    pipeline = object.__new__(module.TokenClassificationPipeline)
    pipeline.model = types.SimpleNamespace(
        config=types.SimpleNamespace(id2label=dict(enumerate(labels)))
    )
    pipeline.tokenizer = types.SimpleNamespace(
        convert_tokens_to_string=" ".join
    )
    texts = ["the longer cafés , good long longer cafés film . not films"]
    texts += ["films cafés " * 9, "longer"]
    strategy = module.AggregationStrategy[aggregation.upper()]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        logits = 2 * rng.normal(size=(len(TOKENS), len(labels)))
        server = by_token(labels, logits, aggregation=aggregation)
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        for text, row in zip(texts, server.predict(texts), strict=True):
            ids, starts, ends = (
                x[0].numpy() for x in Tokenizer(vocabulary).with_spans([text])
            )
            starts, ends = (  # bytes to characters
                [len(text.encode()[:x].decode()) for x in offsets]
                for offsets in (starts, ends)
            )
            tokens = [
                {
                    "word": TOKENS[i],
                    "scores": shares[i],
                    "start": start,
                    "end": end,
                    "index": position,
                    "is_subword": TOKENS[i].startswith("##"),
                }
                for position, (i, start, end) in enumerate(
                    zip(ids, starts, ends, strict=True)
                )
            ]
            want = [
                (e["entity_group"], close(e["score"]), e["start"], e["end"])
                for e in pipeline.aggregate(tokens, strategy)
                if e["entity_group"] != "O"
            ]
            assert want == [
                (e["type"], e["score"], e["start"], e["end"])
                for e in row["entities"]
            ]
