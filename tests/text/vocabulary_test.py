# SPDX-License-Identifier: Apache-2.0
"""Vocabularies: what a file must hold, and what is learnt from text."""

import json
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf
import tokenizers

from kbert.text import vocabulary
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary

TOKENS = (*SPECIAL_TOKENS, "ab", "##c", "d")
TEXT = "Der Öl-Ofen öffnet; der Ofen läuft. Café, CAFÉ!\n日本 한국\n\n" * 3


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT, "utf-8")
    return str(path)


def write(folder, tokens, casing=None):
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", "utf-8")
    if casing is not None:
        (folder / "vocab.json").write_text(json.dumps(casing), "utf-8")
    return folder / "vocab.txt"


def test_special_tokens_are_found_by_name():
    found = Vocabulary(
        ("x", "[MASK]", "[SEP]", "[CLS]", "[UNK]", "[PAD]"), True
    )
    ids = (found.pad_id, found.unk_id, found.cls_id, found.sep_id)
    assert (*ids, found.mask_id, len(found)) == (5, 4, 3, 2, 1, 6)


def test_save_then_load_is_equal(tmp_path):
    saved = Vocabulary((*TOKENS, "\u2028", "é"), False)
    saved.save(tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert Vocabulary.load(folder / "vocab.txt") == saved
    assert sorted(p.name for p in folder.iterdir()) == [
        "vocab.json",
        "vocab.txt",
    ]
    casing = json.loads((folder / "vocab.json").read_text("utf-8"))
    assert casing == {
        "vocab_size": 10,
        "lower_case": False,
        "strip_accents": False,
        "tokenize_chinese_chars": True,
    }


def test_accents_follow_the_casing_by_default():
    assert Vocabulary(TOKENS, True).strip_accents is True
    assert Vocabulary(TOKENS, False).strip_accents is False
    assert Vocabulary(TOKENS, True, False).strip_accents is False
    explicit = Vocabulary(TOKENS, True, strip_accents=True)
    assert explicit == Vocabulary(TOKENS, True)


def test_rare_casings_are_saved_and_a_short_file_means_the_published_way(
    tmp_path,
):
    rare = Vocabulary(
        TOKENS, True, strip_accents=False, tokenize_chinese_chars=False
    )
    rare.save(tmp_path)
    assert Vocabulary.load(tmp_path / "vocab.txt") == rare
    path = write(tmp_path, TOKENS, {"vocab_size": 8, "lower_case": True})
    assert Vocabulary.load(path) == Vocabulary(TOKENS, True)


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    Vocabulary(TOKENS, True).save(tmp_path)

    def fails(path, content):
        with path.open("wb") as file:
            file.write(content[:9])
        raise OSError("disk full")

    monkeypatch.setattr(pathlib.Path, "write_bytes", fails)
    with pytest.raises(OSError, match="disk full"):
        Vocabulary((*TOKENS, "more"), True).save(tmp_path)
    assert Vocabulary.load(tmp_path / "vocab.txt").tokens == TOKENS
    assert len(list(tmp_path.iterdir())) == 2


def test_fingerprint_tells_tokens_order_and_casing_apart():
    other = (*SPECIAL_TOKENS, "##c", "ab", "d")
    prints = {
        Vocabulary(TOKENS, True).fingerprint,
        Vocabulary(TOKENS, False).fingerprint,
        Vocabulary(other, True).fingerprint,
        Vocabulary(TOKENS, True, strip_accents=False).fingerprint,
        Vocabulary(TOKENS, True, tokenize_chinese_chars=False).fingerprint,
    }
    assert len(prints) == 5
    again = Vocabulary(tuple(list(TOKENS)), True)
    assert again.fingerprint in prints


def test_casing_of_a_bare_file_is_given(tmp_path):
    path = write(tmp_path, TOKENS)
    assert Vocabulary.load(path, lower_case=True).lower_case is True
    assert Vocabulary.load(path, lower_case=False).lower_case is False
    with pytest.raises(ValueError, match="casing unknown.*--lower_case="):
        Vocabulary.load(path)


def test_windows_line_ends_are_no_part_of_a_token(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("\r\n".join(TOKENS).encode())
    assert Vocabulary.load(path, lower_case=True).tokens == TOKENS


@pytest.mark.parametrize(
    ("tokens", "casing", "message"),
    [
        (TOKENS[:4] + TOKENS[5:], None, r"vocab.txt: \[MASK\] missing"),
        (TOKENS[1:2] + TOKENS[3:], None, r"\[PAD\], \[CLS\] missing"),
        (
            (*TOKENS, "ab"),
            {"vocab_size": 9, "lower_case": True},
            "vocab.txt: lines 6 and 9 are both 'ab'",
        ),
        (
            (*TOKENS, "", "x"),
            {"vocab_size": 10, "lower_case": True},
            "vocab.txt: line 9 is empty",
        ),
        (TOKENS, [1], r"vocab.json: \[1\]; needs an object"),
        (TOKENS, {"vocab_size": 8}, "vocab.json: .*'lower_case'.* missing"),
        (TOKENS, {"vocab_size": 8, "lower_case": 1}, "true or false"),
        (
            TOKENS,
            {"vocab_size": 2**64, "lower_case": True},
            "vocab.json: vocab_size is 1.*; needs a number of less than 64",
        ),
        (
            TOKENS,
            {"vocab_size": 8, "lower_case": True, "strip_accents": None},
            "strip_accents is null; needs true or false",
        ),
        (
            TOKENS,
            {"vocab_size": 9, "lower_case": True},
            "vocab.json: vocab_size is 9, but vocab.txt in its folder has 8",
        ),
        (
            TOKENS,
            {"vocab_size": 8, "lower_case": False},
            "vocab.json: lower_case is False, but --lower_case is True",
        ),
    ],
)
def test_files_that_are_no_vocabulary(tmp_path, tokens, casing, message):
    path = write(tmp_path, tokens, casing)
    with pytest.raises(ValueError, match=message):
        Vocabulary.load(path, lower_case=True)


def test_blank_and_doubled_lines_keep_their_ids(tmp_path):
    """As `transformers` reads them: of equal lines the last is the token."""
    lines = ["ab", "", *TOKENS, "x", "[line 2]", "x", "y", "", ""]
    path = write(tmp_path, lines)
    said = []
    found = Vocabulary.load(path, True, said.append)
    with open(path, encoding="utf-8") as file:
        theirs = {line.rstrip("\n"): i for i, line in enumerate(file)}
    ids = {token: i for i, token in enumerate(found.tokens)}
    for token, index in theirs.items():
        if token:
            assert ids[token] == index
    assert len(found) == len(lines) - 2  # the blank ones at the end stand out
    assert len(said) == 2
    assert "vocab.txt: 3 lines are blank (line 2, 15, 16)" in said[0]
    assert "2 lines are repeated further down (line 1, 11)" in said[1]
    # What they are called instead, no text can have.
    tokenizer = Tokenizer(found)
    names = set(found.tokens) - set(theirs)
    assert len(names) == 3
    used = set(tokenizer(tf.constant(sorted(names))).flat_values.numpy())
    assert not used & {ids[name] for name in names}
    found.save(tmp_path / "again")
    again = Vocabulary.load(tmp_path / "again" / "vocab.txt")
    assert again == found


@pytest.mark.parametrize("token", ["a\nb", "ab\r"])
def test_a_token_is_a_line(token):
    with pytest.raises(ValueError, match="contains a newline"):
        Vocabulary((*TOKENS, token), lower_case=True)


def test_a_casing_file_that_is_not_json(tmp_path):
    path = write(tmp_path, TOKENS)
    (tmp_path / "vocab.json").write_text("{", "utf-8")
    with pytest.raises(ValueError, match="vocab.json:1: not JSON"):
        Vocabulary.load(path)


def test_learnt_order_is_special_tokens_alphabet_merges(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("bab bab ba-c\n", "utf-8")
    learnt = vocabulary.learn([str(path)], size=100, lower_case=True)
    # By hand: b ##a ##b, b ##a ##b, b ##a, -, c. Three times "ba", then twice
    # "bab"; nothing else occurs twice. "-" never continues a word.
    assert learnt.tokens == (
        *SPECIAL_TOKENS,
        *("-", "a", "b", "c", "##a", "##b", "##c"),
        *("ba", "bab"),
    )


@pytest.mark.parametrize("lower_case", [True, False])
def test_learnt_subwords_have_the_casing_and_spell_the_text(corpus, lower_case):
    learnt = vocabulary.learn([corpus], size=150, lower_case=lower_case)
    ids = {token: i for i, token in enumerate(learnt.tokens)}
    reference = tokenizers.BertWordPieceTokenizer(ids, lowercase=lower_case)
    assert learnt.lower_case == lower_case
    assert "[UNK]" not in reference.encode(TEXT).tokens
    assert ("ofen" in ids, "Ofen" in ids) == (lower_case, not lower_case)
    assert ("cafe" in ids, "Café" in ids) == (lower_case, not lower_case)
    assert ("É" in ids, "##É" in ids) == (not lower_case, not lower_case)
    assert "日" in ids and "##日" not in ids


def test_the_same_text_gives_the_same_vocabulary_in_any_process(corpus):
    code = (
        "import sys; from kbert.text import vocabulary as v; "
        "print(v.learn(sys.argv[1:], size=90, lower_case=True).fingerprint)"
    )
    runs = {
        subprocess.check_output([sys.executable, "-c", code, corpus])
        for _ in range(3)
    }
    here = vocabulary.learn([corpus], size=90, lower_case=True)
    assert runs == {f"{here.fingerprint}\n".encode()}


def test_a_character_rarer_than_one_in_a_million_is_left_out(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("ab " * 500_001 + "q xx", "utf-8")
    learnt = vocabulary.learn([str(path)], size=30, lower_case=True)
    assert "x" in learnt.tokens and "q" not in learnt.tokens


def test_size_smaller_than_the_alphabet(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("abc !\n", "utf-8")
    smallest = 5 + 4 + 3  # special tokens, a b c !, ##a ##b ##c
    assert len(vocabulary.learn([str(path)], size=12, lower_case=True)) == 12
    with pytest.raises(ValueError, match=f"size 11 .* need {smallest}"):
        vocabulary.learn([str(path)], size=11, lower_case=True)


@pytest.mark.parametrize("text", ["", "\n \t\n", "\u200b\x00"])
def test_nothing_to_learn_from(tmp_path, text):
    path = tmp_path / "corpus.txt"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match="corpus.txt: .*nothing to learn from"):
        vocabulary.learn([str(path)], size=100, lower_case=True)


def test_a_missing_file_and_one_that_is_not_utf8(corpus, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.txt"):
        missing = str(tmp_path / "missing.txt")
        vocabulary.learn([missing], size=100, lower_case=True)
    latin = tmp_path / "latin.txt"
    latin.write_bytes("one\ntwo\ncaf\xe9\n".encode("latin-1"))
    with pytest.raises(ValueError, match="latin.txt:3: not UTF-8: byte 0xe9"):
        vocabulary.learn([corpus, str(latin)], size=100, lower_case=True)
