# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import numpy as np
import pytest

from kbert.data import documents, sentence_pairs


class Arrays:
    """A corpus made up: sentences of 1 to 13 tokens; token i is i.

    Attributes:
        sentences, documents: where each begins, and the end of the last.
    """

    def __init__(self, folder, document_lengths, sentence_length=7):
        draw = np.random.default_rng(0)
        lengths = draw.integers(1, 2 * sentence_length, sum(document_lengths))
        self.sentences = np.concatenate([[0], np.cumsum(lengths)])
        self.documents = np.concatenate([[0], np.cumsum(document_lengths)])
        part = folder / "part"
        part.mkdir()
        np.arange(self.sentences[-1], dtype="<i4").tofile(part / "tokens.i4")
        lengths.astype("<i4").tofile(part / "lengths.i4")
        borders = np.isin(np.arange(len(lengths) + 1), self.documents)
        borders.tofile(part / "borders.u1")
        documents.join(
            [(documents.Block("", 0, 1), part)],
            folder / "corpus",
            min_sentences=sentence_pairs.MIN_SENTENCES,
        )
        self.corpus = documents.Corpus(folder / "corpus")

    @property
    def num_sentences(self):
        return self.corpus.num_sentences


@pytest.fixture(scope="module")
def make_corpus(tmp_path_factory):
    def make_corpus(*arguments):
        return Arrays(tmp_path_factory.mktemp("corpus"), *arguments)

    return make_corpus


def choose(arrays, times=1, **changed):
    options = {"max_tokens": 40, "short_seq_prob": 0.0, "seed": "a seed"}
    stretches = arrays.corpus.stretches(0, 1)
    groups = [stretches[::2], stretches[1::2]] * times
    chosen = sentence_pairs.choose(arrays.corpus, groups, **options | changed)
    parts = [vars(pairs) for pairs in chosen]
    assert len(parts) == len(groups)
    return SimpleNamespace(
        **{n: np.concatenate([p[n] for p in parts]) for n in parts[0]}
    )


def document_of(corpus, token):
    sentence = np.searchsorted(corpus.sentences, token, "right") - 1
    return np.searchsorted(corpus.documents, sentence, "right") - 1


@pytest.fixture(scope="module")
def corpus(make_corpus):
    return make_corpus([1, 2, 40, 3, 1, 60, 25, 2, 33, 80] * 10)


def test_spans_are_whole_sentences_of_one_document(corpus):
    pairs = choose(corpus)
    for start, end in (
        (pairs.a_start, pairs.a_end),
        (pairs.b_start, pairs.b_end),
    ):
        assert (start < end).all()
        assert np.isin(start, corpus.sentences).all()
        assert np.isin(end, corpus.sentences).all()
        same = document_of(corpus, start) == document_of(corpus, end - 1)
        assert same.all()


def test_b_follows_a_or_is_from_another_document(corpus):
    pairs = choose(corpus)
    is_random = pairs.random_sentence >= 0
    follows = pairs.b_start == pairs.a_end
    of_a = document_of(corpus, pairs.a_start)
    of_b = document_of(corpus, pairs.b_start)
    assert follows[~is_random].all()
    assert (of_a == of_b)[~is_random].all()
    assert (of_a != of_b)[is_random].all()


@pytest.mark.parametrize("max_tokens", [12, 40, 200])
def test_half_are_random(corpus, max_tokens):
    # 12 tokens are often one sentence, which cannot have a true next one.
    pairs = choose(corpus, max_tokens=max_tokens, times=4)
    is_random = pairs.random_sentence >= 0
    error = 3 * (0.25 / len(is_random)) ** 0.5
    assert abs(is_random.mean() - 0.5) < error


def test_every_sentence_is_used_once_by_each_pass(corpus):
    pairs = choose(corpus, times=2)
    used = np.zeros(corpus.corpus.num_tokens, int)
    for a_start, a_end, b_start, b_end, random_sentence, _ in zip(
        *vars(pairs).values(), strict=True
    ):
        used[a_start:a_end] += 1
        if random_sentence < 0:
            used[b_start:b_end] += 1
    usable = np.repeat(
        np.diff(corpus.documents) > 1,
        np.diff(corpus.sentences[corpus.documents]),
    )
    assert (used[usable] == 2).all()
    assert not used[~usable].any()


def test_pairs_reach_their_target_and_no_further(corpus):
    pairs = choose(corpus)
    a, b = pairs.a_end - pairs.a_start, pairs.b_end - pairs.b_start
    document_end = corpus.sentences[
        corpus.documents[document_of(corpus, pairs.b_start) + 1]
    ]
    ended = pairs.b_end == document_end
    assert (a + b >= 40)[~ended].all()
    sentence = np.searchsorted(corpus.sentences, pairs.b_end) - 1
    last = pairs.b_end - corpus.sentences[sentence]
    only_sentence = b == last
    assert ((a + b - last) < 40)[~only_sentence].all()


def test_short_pairs_have_their_share(make_corpus):
    corpus = make_corpus([3000] * 4)  # few pairs are short by a document's end
    pairs = choose(corpus, max_tokens=100, short_seq_prob=0.3)
    length = pairs.a_end - pairs.a_start + pairs.b_end - pairs.b_start
    # A target of 2 to 100, drawn evenly, is below 50 in half of the cases; a
    # pair is longer than that by half a sentence, and by two at least.
    assert 0.09 < (length < 50).mean() < 0.17
    assert (length >= 100).mean() > 0.65
    assert 0.25 < pairs.is_short.mean() < 0.35
    assert (pairs.is_short[length < 100]).mean() > 0.95


def test_random_text_comes_from_everywhere(corpus):
    pairs = choose(corpus, times=40)
    starts = pairs.b_start[pairs.random_sentence >= 0]
    sentences = np.searchsorted(corpus.sentences, starts)
    given = pairs.random_sentence[pairs.random_sentence >= 0]
    assert np.array_equal(sentences, given)
    counts = np.bincount(sentences, minlength=corpus.num_sentences)
    assert counts.mean() > 4
    assert (counts > 0).mean() > 0.97
    # Each document as often as it is long; those of one sentence too.
    by_document = np.add.reduceat(counts, corpus.documents[:-1])
    lengths = np.diff(corpus.documents)
    assert np.corrcoef(by_document, lengths)[0, 1] > 0.95
    assert by_document[lengths == 1].sum() > 0


def test_two_documents_are_enough(make_corpus):
    corpus = make_corpus([5, 4])
    pairs = choose(corpus, times=20)
    is_random = pairs.random_sentence >= 0
    of_a = document_of(corpus, pairs.a_start[is_random])
    of_b = document_of(corpus, pairs.b_start[is_random])
    assert set(of_a.tolist()) == {0, 1}
    assert (of_b == 1 - of_a).all()


def test_a_seed_decides(corpus):
    def rows(seed):
        return np.stack(list(vars(choose(corpus, seed=seed)).values()))

    assert np.array_equal(rows("1"), rows("1"))
    assert not np.array_equal(rows("1")[:, :50], rows("2")[:, :50])
    assert (np.diff(rows("1")[0]) < 0).mean() > 0.3  # not in text order


def test_documents_of_one_sentence_alone_have_no_stretch(make_corpus):
    assert make_corpus([1, 1, 1]).corpus.num_stretches == 0
