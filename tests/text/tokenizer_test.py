# SPDX-License-Identifier: Apache-2.0
"""Token ids against Hugging Face's tokenizers, eagerly and in Dataset.map."""

import pytest
import tensorflow as tf
import tokenizers

from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import Vocabulary

LETTERS = "abcdefghijklmnoprstuvwxyzABCDEÉéßøØđŁłσοδςïıİ½…™ﬁ²日本語한국ᄒ어नम"
PIECES = (
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
TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PIECES, *LETTERS)
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
    "",
    " \n ",
]


@pytest.fixture(params=[True, False], ids=["uncased", "cased"])
def lower_case(request):
    return request.param


@pytest.fixture
def tokenizer(lower_case):
    return Tokenizer(Vocabulary(TOKENS, lower_case))


def reference(texts, lower_case):
    ids = {token: i for i, token in enumerate(TOKENS)}
    them = tokenizers.BertWordPieceTokenizer(ids, lowercase=lower_case)
    encoded = them.encode_batch(texts, add_special_tokens=False)
    return [row.ids for row in encoded]


def in_dataset(tokenizer, texts):
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(4).map(tokenizer)
    return [ids for batch in dataset for ids in batch.to_list()]


def test_ids_are_those_of_hugging_face(tokenizer, lower_case):
    want = reference(TEXTS, lower_case)
    got = tokenizer(tf.constant(TEXTS))
    assert got.dtype == tf.int32
    for text, ids, expected in zip(TEXTS, got.to_list(), want, strict=True):
        assert ids == expected, text
    assert in_dataset(tokenizer, TEXTS) == want


def test_casing_shows(tokenizer, lower_case):
    text = "The Café É"
    (ids,) = tokenizer(tf.constant([text])).to_list()
    pieces = [TOKENS[i] for i in ids]
    if lower_case:
        assert pieces == ["the", "caf", "##e", "e"]
    else:
        assert pieces == ["The", "Caf", "##é", "É"]


def test_greek_is_lowered_as_in_the_published_code():
    # With the final sigma, as Python's str.lower; Rust's tokenizers have none.
    tokenizer = Tokenizer(Vocabulary(TOKENS, True))
    (ids,) = tokenizer(tf.constant(["ΟΔΟΣ"])).to_list()
    assert [TOKENS[i] for i in ids] == ["ο", "##δ", "##ο", "##ς"]


def test_bytes_that_are_not_utf8_are_left_out(tokenizer, lower_case):
    broken = [b"a\xffb", b"\xc3", b"walk \xe6\x97 the", b"a\xed\xa0\x80b"]
    replaced = [text.decode("utf-8", "replace") for text in broken]
    want = reference(replaced, lower_case)
    assert tokenizer(tf.constant(broken)).to_list() == want
    assert in_dataset(tokenizer, broken) == want


def test_text_cannot_spell_a_special_token(tokenizer):
    (ids,) = tokenizer(tf.constant(["[MASK] [SEP]"])).to_list()
    assert not {2, 3, 4} & set(ids)
    assert TOKENS[ids[0]] == "["


def test_an_export_carries_it(tokenizer, tmp_path):
    signature = [tf.TensorSpec([None], tf.string)]
    module = tf.Module()
    module.tokenizer = tokenizer
    module.run = tf.function(
        lambda texts: tokenizer(texts).to_tensor(-1), input_signature=signature
    )
    want = module.run(tf.constant(TEXTS)).numpy()
    tf.saved_model.save(module, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    assert loaded.run(tf.constant(TEXTS)).numpy().tolist() == want.tolist()
