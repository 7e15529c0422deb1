# SPDX-License-Identifier: Apache-2.0
import gzip
import pathlib
import tempfile

import numpy as np
import pytest

from kbert.data import documents
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        ("Two teens. They drive!  Why?", ["Two teens.", "They drive!", "Why?"]),
        (
            'He left. "Why?" Mr. Lee asked.',
            ["He left.", '"Why?"', "Mr. Lee asked."],
        ),
        (
            "the plot . it is thin . 2 stars",
            ["the plot . it is thin . 2 stars"],
        ),
        ("The U.S. Senate met J. K. R.", ["The U.S. Senate met J. K. R."]),
        ("1. We act. We wait.", ["1. We act.", "We wait."]),
        ("In 1945. The war", ["In 1945.", "The war"]),
        ("(It is.) So. . . . Now …", ["(It is.)", "So. . . .", "Now …"]),
        ("你好。你好吗？好", ["你好。", "你好吗？", "好"]),
        ("नमस्ते। मैं हूँ।", ["नमस्ते।", "मैं हूँ।"]),
        (" = Title = ", ["= Title ="]),
        (" \t", []),
    ],
)
def test_a_line_is_cut_into_sentences(line, sentences):
    assert documents.split_sentences(line) == sentences


@pytest.fixture(scope="module")
def tokenizer():
    words = "the film was good bad not very long ##er .".split()
    return Tokenizer(Vocabulary((*SPECIAL_TOKENS, *words), lower_case=True))


@pytest.fixture
def make_corpus(tmp_path, tokenizer):
    def make_corpus(*names, min_sentences=1):
        """The corpus of some files, whose last block is read first."""
        work = pathlib.Path(tempfile.mkdtemp(dir=tmp_path))
        blocks = documents.blocks([str(tmp_path / name) for name in names])
        parts = [(block, work / str(i)) for i, block in enumerate(blocks)]
        for block, part in reversed(parts):
            documents.tokenize(block, tokenizer, part, lambda amount: None)
        folder = work / "corpus"
        documents.join(parts, folder, min_sentences=min_sentences)
        return documents.Corpus(folder)

    return make_corpus


def read(corpus):
    """All of a corpus: documents of sentences of tokens."""
    table = corpus.sentences([0], [corpus.num_sentences + 1])
    starts = table["token"]
    tokens = corpus.tokens(starts[:-1], np.diff(starts)).tolist()
    assert len(tokens) == corpus.num_tokens
    found = {}
    for start, end, document in zip(
        starts[:-1], starts[1:], table["document"][:-1], strict=True
    ):
        found.setdefault(int(document), []).append(tokens[start:end])
    assert list(found) == list(range(corpus.num_documents))
    return list(found.values())


# U+200B is deleted by the tokenizer: neither a sentence nor a document.
TEXTS = {
    "a.txt": "\ufeff\n\nThe film. Was good\r\n\u200b\nbad\n \n\n\u200b\n\nlong",
    "b.txt": "",
    "c.txt": "\u200b\nnot\nlonger. The film\n\t\n",
    "d.txt": "very\n" * 9 + "\n" * 5 + "good\n" + "\u200b\n" * 4,
}
_, THE, FILM, WAS, GOOD, BAD, NOT, VERY, LONG, ER, STOP = range(4, 15)
DOCUMENTS = [
    [[THE, FILM, STOP], [WAS, GOOD], [BAD]],
    [[LONG]],
    [[NOT], [LONG, ER, STOP], [THE, FILM]],
    [[VERY]] * 9,
    [[GOOD]],
]


@pytest.mark.parametrize("block_bytes", [3, 4, 5, 16, 1 << 24])
def test_blocks_of_any_size_give_the_same(
    make_corpus, tmp_path, monkeypatch, block_bytes
):
    monkeypatch.setattr(documents, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(documents, "_BATCH_SENTENCES", 2)
    monkeypatch.setattr(documents, "_WINDOW", 4)
    for name, text in TEXTS.items():
        (tmp_path / name).write_bytes(text.encode())
    corpus = make_corpus(*TEXTS)
    assert read(corpus) == DOCUMENTS
    with gzip.open(tmp_path / "a.txt.gz", "wb") as file:
        file.write(TEXTS["a.txt"].encode())
    assert read(make_corpus("a.txt.gz", "c.txt")) == DOCUMENTS[:3]


def test_stretches_are_dealt_and_cover_every_long_document(
    make_corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(documents, "_MAX_STRETCH", 4)
    for name, text in TEXTS.items():
        (tmp_path / name).write_bytes(text.encode())
    corpus = make_corpus(*TEXTS, min_sentences=2)
    assert corpus.num_stretches == 5
    shares = [corpus.stretches(share, 2).tolist() for share in (0, 1)]
    assert [len(share) for share in shares] == [3, 2]
    whole = [*shares[0], *shares[1]]
    assert sorted(whole) == [
        *((0, 3, 0, 3), (4, 7, 4, 7)),
        *((7, 10, 7, 16), (10, 13, 7, 16), (13, 16, 7, 16)),
    ]


def test_progress_is_reported_in_bytes(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(documents, "_BATCH_SENTENCES", 2)
    monkeypatch.setattr(documents, "_BLOCK_BYTES", 40)
    text = tmp_path / "a.txt"
    text.write_text("the film was good\n" * 10)
    reports = []
    for block in documents.blocks([str(text)]):
        part = tmp_path / str(block.start)
        documents.tokenize(block, tokenizer, part, reports.append)
    assert len(reports) > 5 and min(reports) >= 0
    assert 0 <= sum(reports) - text.stat().st_size < 5 * 18


@pytest.mark.parametrize("block_bytes", [5, 8, 1 << 24])
@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"good\n\nb\xe4d\n", 3),
        (b"\xe4", 1),
        (b"good\n" * 20 + b"b\xe4d\n\xe4\n", 21),
    ],
)
def test_text_that_is_not_utf8_names_its_line(
    make_corpus, tmp_path, monkeypatch, block_bytes, content, line
):
    monkeypatch.setattr(documents, "_BLOCK_BYTES", block_bytes)
    # The last line is read first: with small blocks the second fault counts.
    content = content[: content.index(b"\xe4") + 3]
    (tmp_path / "a.txt").write_bytes(content)
    message = rf"a\.txt:{line}: not UTF-8: byte 0xe4 at column [12]\."
    with pytest.raises(ValueError, match=message):
        make_corpus("a.txt")
    with gzip.open(tmp_path / "b.gz", "wb") as file:
        file.write(content)
    with pytest.raises(ValueError, match=rf"b\.gz:{line}: not UTF-8"):
        make_corpus("b.gz")
    left = [path.name for path in tmp_path.rglob(".*")]
    assert not left


def test_damaged_files_are_named(make_corpus, tmp_path, tokenizer):
    whole = gzip.compress(b"the film was good\n" * 99)
    flipped = bytes([*whole[:-6], whole[-6] ^ 1, *whole[-5:]])
    for content in (whole[:-12], b"the film", flipped, whole + b"x"):
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.gz: damaged: "):
            make_corpus("a.gz")
    short = documents.Block(str(tmp_path / "b.txt"), 0, 30)
    (tmp_path / "b.txt").write_text("the film\n")
    with pytest.raises(ValueError, match=r"b\.txt: has become shorter"):
        documents.tokenize(short, tokenizer, tmp_path / "b", print)
    (tmp_path / "b.txt").unlink()
    with pytest.raises(OSError, match=r"b\.txt: No such file"):
        documents.tokenize(short, tokenizer, tmp_path / "b", print)
