# SPDX-License-Identifier: Apache-2.0
import pytest

from kbert.data import documents
from kbert.text.tokenizer import Tokenizer


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


def test_blank_lines_and_files_end_documents(tmp_path):
    (tmp_path / "a.txt").write_text("\nOne. Two.\nthree\n \n\nFour.\n")
    (tmp_path / "b.txt").write_text("five")
    paths = [str(tmp_path / name) for name in ("a.txt", "b.txt")]
    groups = {}
    for document, sentence in documents.read_sentences(paths):
        groups.setdefault(document, []).append(sentence)
    assert list(groups.values()) == [
        ["One.", "Two.", "three"],
        ["Four."],
        ["five"],
    ]


def test_a_corpus_holds_the_tokens_in_order(tmp_path, vocabulary, monkeypatch):
    monkeypatch.setattr(documents, "_SENTENCES_AT_ONCE", 2)
    text = tmp_path / "text.txt"
    # U+200B is deleted by the tokenizer: neither a sentence nor a document.
    text.write_text(
        "The film. Was good\n\u200b\nbad\n\n\u200b\n\nvery longer\n"
    )
    seen = []
    folder = tmp_path / "corpus"
    documents.tokenize(
        [str(text)],
        Tokenizer(vocabulary),
        folder,
        lambda done, total: seen.append(done / total),
    )
    corpus = documents.Corpus.open(folder)
    the, film, was, good, bad, _, very, long, er, stop = range(5, 15)
    assert corpus.tokens.tolist() == [
        *(the, film, stop, was, good, bad),
        *(very, long, er),
    ]
    assert corpus.sentences.tolist() == [0, 3, 5, 6, 9]
    assert corpus.documents.tolist() == [0, 3, 4]
    assert (corpus.num_sentences, corpus.num_documents) == (4, 2)
    assert seen == sorted(seen)
    assert 0.5 < seen[-2] < seen[-1] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"text\.txt: no text"),
        (b"\n \n", r"text\.txt: no text"),
        (b"the film.\nwas good\n", r"text\.txt: one document only"),
        (b"good\n\nb\xe4d\n", r"text\.txt:3: not UTF-8"),
    ],
)
def test_text_that_cannot_be_used(tmp_path, vocabulary, content, message):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        documents.tokenize(
            [str(path)],
            Tokenizer(vocabulary),
            tmp_path / "corpus",
            lambda done, total: None,
        )
