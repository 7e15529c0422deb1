# SPDX-License-Identifier: Apache-2.0
import random

import numpy as np
import pytest

from kbert.data import documents, full_sentences
from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary

ROOM = 20
NUM_TOKENS = 4000
# Token i is i, but for the five special tokens that stand before the text.
VOCABULARY = Vocabulary(
    (*SPECIAL_TOKENS, *map(str, range(NUM_TOKENS))), lower_case=True
)


@pytest.fixture(scope="module")
def sentence_ends():
    """A few sentences are longer than a row."""
    draw = random.Random(0)
    ends = [5]
    while ends[-1] < NUM_TOKENS - 60:
        ends.append(ends[-1] + draw.choice([1, 3, 5, 8, 13, 13, 21, 50]))
    return ends


@pytest.fixture(scope="module")
def document_ends(sentence_ends):
    """Documents of 1 to 11 sentences."""
    draw = random.Random(1)
    ends = [0]
    while ends[-1] < len(sentence_ends) - 1:
        ends.append(ends[-1] + draw.randint(1, 11))
    ends[-1] = len(sentence_ends) - 1
    return ends


@pytest.fixture(scope="module")
def corpus(sentence_ends, document_ends, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "part").mkdir()
    tokens = np.arange(5, sentence_ends[-1], dtype="<i4")
    tokens.tofile(folder / "part" / "tokens.i4")
    lengths = np.diff(sentence_ends).astype("<i4")
    lengths.tofile(folder / "part" / "lengths.i4")
    borders = np.isin(np.arange(len(lengths) + 1), document_ends)
    borders.tofile(folder / "part" / "borders.u1")
    documents.join(
        [(documents.Block("", 0, 1), folder / "part")],
        folder / "corpus",
        min_sentences=full_sentences.MIN_SENTENCES,
    )
    return documents.Corpus(folder / "corpus")


def make(corpus, *, packed, short_seq_prob=0.0, seed="1"):
    """All rows, as lists of lists of tokens, and the texts."""
    stretches = corpus.stretches(0, 1)
    rows, shorts = [], []
    for texts in full_sentences.choose(
        corpus,
        [stretches[::2], stretches[1::2]],
        max_tokens=ROOM,
        short_seq_prob=short_seq_prob,
        packed=packed,
        seed=seed,
    ):
        shorts += texts.is_short.tolist()
        for first in range(0, texts.num_rows, 7):
            filled = full_sentences.fill(
                corpus,
                texts.of_rows(first, first + 7),
                seq_length=ROOM + 2,
                vocabulary=VOCABULARY,
            )
            rows += take_apart(filled)
    return rows, shorts


def take_apart(filled):
    """Texts of each row, found by padding_mask; checks the special tokens."""
    token_ids, segment_ids, padding_mask = (
        filled[name] for name in ("token_ids", "segment_ids", "padding_mask")
    )
    assert {array.dtype for array in filled.values()} == {np.dtype("int32")}
    assert not segment_ids.any()
    for ids, mask in zip(token_ids, padding_mask, strict=True):
        length = np.count_nonzero(mask)
        assert not mask[length:].any()
        assert (ids[length:] == VOCABULARY.pad_id).all()
        assert (np.isin(np.diff(mask[:length]), [0, 1])).all() and mask[0] == 1
        texts = [ids[mask == k].tolist() for k in range(1, mask.max() + 1)]
        for text in texts:
            assert (text[0], text[-1]) == (VOCABULARY.cls_id, VOCABULARY.sep_id)
        yield [text[1:-1] for text in texts]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("short_seq_prob", [0.0, 0.3])
def test_every_token_stands_once_in_its_own_document(
    corpus, sentence_ends, document_ends, packed, short_seq_prob
):
    rows, _ = make(corpus, packed=packed, short_seq_prob=short_seq_prob)
    texts = [text for row in rows for text in row]
    for text in texts:
        assert text == list(range(text[0], text[-1] + 1))
        sentence = np.searchsorted(sentence_ends, [text[0], text[-1]], "right")
        document = np.searchsorted(document_ends, sentence - 1, "right")
        assert document[0] == document[1]
    found = sorted(token for text in texts for token in text)
    assert found == list(range(5, sentence_ends[-1]))


def test_texts_are_as_many_whole_sentences_as_fit(
    corpus, sentence_ends, document_ends
):
    rows, shorts = make(corpus, packed=False)
    assert not any(shorts)
    assert max(map(len, rows)) == 1
    starts_document = {sentence_ends[i] for i in document_ends}
    for [text] in rows:
        end = text[-1] + 1
        if end in sentence_ends:
            if end not in starts_document:  # the next one would not fit
                following = sentence_ends[sentence_ends.index(end) + 1]
                assert following - text[0] > ROOM
        else:  # of a sentence that is too long itself
            assert len(text) == ROOM


def test_packing_leaves_little_padding(corpus):
    alone, _ = make(corpus, packed=False)
    packed, _ = make(corpus, packed=True)
    assert sorted(text for row in packed for text in row) == sorted(
        text for row in alone for text in row
    )
    sizes = [sum(len(text) + 2 for text in row) for row in packed]
    assert max(sizes) <= ROOM + 2
    full = sum(sizes) / (ROOM + 2)
    assert len(packed) < 1.2 * full
    assert len(packed) < 0.9 * len(alone)
    assert max(map(len, packed)) > 2


def test_a_seed_decides_and_rows_are_in_no_order(corpus):
    one, two, other = (
        make(corpus, packed=True, short_seq_prob=0.1, seed=seed)[0]
        for seed in ("1", "1", "2")
    )
    assert one == two and one != other
    firsts = [row[0][0] for row in one]
    assert 0.4 < np.mean(np.diff(firsts) < 0) < 0.6
    lengths = [len(row[0]) for row in one]
    half = len(lengths) // 2
    assert abs(np.mean(lengths[:half]) - np.mean(lengths[half:])) < 3


def test_short_texts_have_their_share(corpus):
    rows, shorts = make(corpus, packed=False, short_seq_prob=0.5)
    assert abs(np.mean(shorts) - 0.5) < 0.1


def test_best_fit_takes_the_fullest_row_that_has_room():
    sizes = np.array([4, 7, 3, 6, 3, 10])
    # 10 | 7 and 3 | 6 and 4 | 3, in the order in which they are first met.
    assert full_sentences.best_fit(sizes, 10).tolist() == [0, 1, 1, 0, 2, 3]
