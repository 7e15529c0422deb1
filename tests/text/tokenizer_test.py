# SPDX-License-Identifier: Apache-2.0
"""Ids and spans against Hugging Face's tokenizers, eagerly and in Dataset.map.

On many more texts: tokenizer_sweep_test.py.
"""

import pytest
import tensorflow as tf
import tokenizers

from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import Vocabulary

LETTERS = "abcdefghijklmnoprstuvwxyzABCDEÉéßøØđŁłσοδςïıİ½…™ﬁ²日本語한국ᄒ어नम"
SUBWORDS = (
    *(
        "the",
        "The",
        "##ing",
        "walk",
        "Walk",
        "caf",
        "Caf",
        "##fé",
        "na",
        "##ve",
    ),
    *("!", "'", ",", "-", "_", "$", "€", "[", "]", "“", "”", "’", "😀", "12"),
)
TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *SUBWORDS, *LETTERS)
TOKENS += tuple(f"##{letter}" for letter in LETTERS)

TEXTS = [
    "the walking café",
    "The Café, naïve CAFÉ: walk-walk_walk!",
    "e\u0301 É e",  # composed and not
    "don't “walk” it’s $12 €12",
    "日本語の本 and日本",
    "한국어",
    "नमस्ते",
    "ß straße Øl Đord Łódź İstanbul ısı",
    "½ … ™ ﬁ x² Ａ",  # NFKC would change them
    "a\tb\nc\rd\x0be\x0cf\x85g",  # white space, and what is not
    "a\u200bb soft\u00adhyphen \ufeffa b\ue000c",  # format, private use
    "a\u00a0b\u3000c\u2003d",
    "😀walk😀",
    "q qq unknown Q",  # no q in the vocabulary
    "क" * 34 + " " + "न" * 34,  # 102 bytes, but few characters
    "क" * 100 + " " + "क" * 101,  # the longest word, and one longer
    "a" * 100 + " " + "a" * 101 + "-" + "é" * 101 + "a",
    "日" * 101 + "é" * 60 + "a" * 40 + "𝒜é" * 51,
    "ΟΔΟΣ",
    "𫠠 豈 一人",  # Chinese or not, by the reference's ranges
    "## a##b ###",
    "",
    " \n ",
]
CASINGS = {
    "uncased": {"lower_case": True},
    "cased": {"lower_case": False},
    "lower, accents": {"lower_case": True, "strip_accents": False},
    "cased, no accents": {"lower_case": False, "strip_accents": True},
    "no Chinese": {"lower_case": True, "tokenize_chinese_chars": False},
}


@pytest.fixture(params=CASINGS, scope="module")
def casing(request):
    return CASINGS[request.param]


@pytest.fixture(scope="module")
def tokenizer(casing):
    return Tokenizer(Vocabulary(TOKENS, **casing))


def reference(casing):
    """Theirs, but that no text spells a special token."""
    theirs = tokenizers.BertWordPieceTokenizer(
        {token: i for i, token in enumerate(TOKENS)},
        lowercase=casing["lower_case"],
        strip_accents=casing.get("strip_accents"),
        handle_chinese_chars=casing.get("tokenize_chinese_chars", True),
    )
    theirs._tokenizer.encode_special_tokens = True
    return theirs


def ids_of(texts, casing):
    rows = reference(casing).encode_batch(texts, add_special_tokens=False)
    return [row.ids for row in rows]


def subwords_of(ids):
    return [TOKENS[i] for i in ids]


def in_dataset(tokenizer, texts):
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(4).map(tokenizer)
    return [ids for batch in dataset for ids in batch.to_list()]


def test_ids_are_those_of_hugging_face(tokenizer, casing):
    want = ids_of(TEXTS, casing)
    got = tokenizer(tf.constant(TEXTS))
    assert got.dtype == tf.int32
    for text, ids, expected in zip(TEXTS, got.to_list(), want, strict=True):
        assert ids == expected, text
    assert in_dataset(tokenizer, TEXTS) == want


@pytest.mark.parametrize(
    ("casing", "subwords"),
    [
        ("uncased", ["the", "caf", "##e", "e", "日", "本"]),
        ("cased", ["The", "Caf", "##é", "É", "日", "本"]),
        ("lower, accents", ["the", "caf", "##é", "é", "日", "本"]),
        ("cased, no accents", ["The", "Caf", "##e", "E", "日", "本"]),
        ("no Chinese", ["the", "caf", "##e", "e", "日", "##本"]),
    ],
)
def test_casing_shows(casing, subwords):
    tokenizer = Tokenizer(Vocabulary(TOKENS, **CASINGS[casing]))
    (ids,) = tokenizer(tf.constant(["The Café É 日本"])).to_list()
    assert subwords_of(ids) == subwords


def test_bytes_that_are_not_utf8_are_left_out(tokenizer, casing):
    broken = [
        *(b"a\xffb", b"\xc3", b"walk \xe6\x97 the", b"a\xed\xa0\x80b"),
        *(b"\x80\x80x", b"a\xe6\x97", b"a\xf0\x9f\x98 b", b"\xf0\x9fa"),
        # Longer than needed, beyond Unicode, and of the first UTF-8.
        *(b"a\xc0\x80b", b"a\xe0\x80\x80b", b"a\xf0\x80\x80\x80b"),
        *(b"a\xf4\x90\x80\x80b", b"a\xf5\x80\x80\x80b"),
        *(b"a\xf8\x80\x80\x80\x80b", bytes(range(0x60, 0x100))),
    ]
    replaced = [text.decode("utf-8", "replace") for text in broken]
    want = ids_of(replaced, casing)
    assert tokenizer(tf.constant(broken)).to_list() == want
    assert in_dataset(tokenizer, broken) == want


def test_text_cannot_spell_a_special_token(tokenizer):
    (ids,) = tokenizer(tf.constant(["[MASK] [SEP]"])).to_list()
    assert not {2, 3, 4} & set(ids)
    assert TOKENS[ids[0]] == "["


def test_ordered_marks_that_stay_are_not_put_in_order():
    # The one known difference from the reference: see code_points.py.
    marks = ("\u302e", "\u1b44")
    tokens = (*TOKENS, *(f"##{mark}" for mark in marks))
    tokenizer = Tokenizer(Vocabulary(tokens, True))
    for text in ("a\u302e\u1b44", "a\u1b44\u302e"):
        (ids,) = tokenizer(tf.constant([text])).to_list()
        assert [tokens[i][-1] for i in ids] == list(text)


@pytest.mark.parametrize(
    ("text", "subwords"),
    [
        ("The Café!", ["The", "Caf", "é", "!"]),
        ("the Cafe\u0301 a", ["the", "Caf", "e\u0301", "a"]),
        ("e\u0301\u0300!\u0302 a", ["e\u0301\u0300", "!\u0302", "a"]),
        ("日本\u3099 a", ["日", "本\u3099", "a"]),
        ("\ufeffwalk\u200b the\x00", ["walk", "the"]),
        ("wal\u00adking", ["wal\u00adk", "ing"]),
        ("e\u200b\u0301", ["e"]),  # an accent of what was deleted
        ("각", ["각", "각", "각"]),
        ("q" * 101 + " a", ["q" * 101, "a"]),
        (b"a\xff b\xe6\x97 \x80a", ["a", "b", "a"]),
        ("", []),
    ],
)
def test_spans_cut_the_text(text, subwords):
    tokens = (*TOKENS, *("ᄀ", "##ᅡ", "##ᆨ"))
    tokenizer = Tokenizer(Vocabulary(tokens, True))
    text = text if isinstance(text, bytes) else text.encode()
    inputs = tf.constant([b"a", text, "é".encode()])
    (mapped,) = tf.data.Dataset.from_tensors(inputs).map(tokenizer.with_spans)
    for ids, starts, ends in (tokenizer.with_spans(inputs), mapped):
        assert ids.to_list() == tokenizer(inputs).to_list()
        assert starts.dtype == ends.dtype == tf.int32
        first, row, last = zip(starts.to_list(), ends.to_list(), strict=True)
        assert (first, last) == (([0], [1]), ([0], [2]))
        cut = [
            text[start:end].decode() for start, end in zip(*row, strict=True)
        ]
        assert cut == subwords


def test_no_texts(tokenizer):
    none = tf.constant([], tf.string)
    assert tokenizer(none).to_list() == []
    assert [x.to_list() for x in tokenizer.with_spans(none)] == [[], [], []]


@pytest.mark.parametrize("texts", ["a", [["a"]], [[["a"]]]])
def test_texts_of_another_rank_are_errors(texts, tokenizer):
    """Which ended the process; of an unknown rank it is found in the graph."""
    spec = tf.TensorSpec(None, tf.string)
    for function in (tokenizer, tokenizer.with_spans):
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
            function(tf.constant(texts))
        graph = tf.function(function, input_signature=[spec])
        with pytest.raises(tf.errors.InvalidArgumentError, match="Shape of"):
            graph(tf.constant(texts))


def test_decode_is_hugging_faces(tokenizer):
    texts = ["the walking café", "walk! walk-walk", "", "##ing"]
    ids = tokenizer(tf.constant(texts))
    theirs = tokenizers.decoders.WordPiece(cleanup=False)
    want = [theirs.decode(subwords_of(row)) for row in ids.to_list()]
    got = [text.decode() for text in tokenizer.decode(ids).numpy()]
    assert got == want
    specials = tf.ragged.constant([[2, 5, 3, 0]])
    assert tokenizer.decode(specials).numpy() == [b"[CLS] the [SEP] [PAD]"]
    spare = tf.ragged.constant([[5, 10**6, -1], []], dtype=tf.int32)
    assert list(tokenizer.decode(spare).numpy()) == [b"the [UNK] [UNK]", b""]


def test_more_characters_than_it_can_tell_apart():
    many = [f"##{chr(c)}" for c in range(0x10FFFF, 0x10000, -1)][:72_000]
    vocabulary = Vocabulary((*TOKENS, *many), lower_case=True)
    with pytest.raises(ValueError, match="more than 7.,... different char"):
        Tokenizer(vocabulary)


def test_an_export_carries_it(tokenizer, tmp_path):
    signature = [tf.TensorSpec([None], tf.string)]
    module = tf.Module()
    module.tokenizer = tokenizer
    module.run = tf.function(
        lambda texts: [x.to_tensor(-1) for x in tokenizer.with_spans(texts)],
        input_signature=signature,
    )
    want = module.run(tf.constant(TEXTS))
    tf.saved_model.save(module, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    for mine, theirs in zip(want, loaded.run(tf.constant(TEXTS)), strict=True):
        assert mine.numpy().tolist() == theirs.numpy().tolist()
