# SPDX-License-Identifier: Apache-2.0
"""BertConfig: its file, and the errors that name file and field."""

import json

import pytest

from kbert.config import BertConfig

_FIELDS = {"vocab_size": 9, "lower_case": True, "hidden_size": 12}


def _write(path, **fields):
    path.write_text(json.dumps(fields), encoding="utf-8")
    return path


def test_a_file_gives_what_was_written(tmp_path):
    config = BertConfig(
        **_FIELDS, position_embedding="sinusoidal", mlm_layer_norm_epsilon=1e-5
    )
    config.to_json(tmp_path / "c.json")
    assert BertConfig.from_json(tmp_path / "c.json") == config


def test_the_vocabulary_fills_in_what_a_file_leaves_out(tmp_path):
    path = _write(tmp_path / "c.json", hidden_size=24)
    config = BertConfig.from_json(path, vocab_size=7, lower_case=False)
    assert (config.vocab_size, config.lower_case) == (7, False)
    path = _write(tmp_path / "c.json", **_FIELDS)
    with pytest.raises(ValueError, match="c.json: vocab_size is 9, but .* 7"):
        BertConfig.from_json(path, vocab_size=7)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_sice": 4}, r'unknown fields \["hidden_sice"\]'),
        ({"hidden_size": "4"}, 'hidden_size is "4"; needs a whole number'),
        ({"hidden_size": True}, "hidden_size is true; needs a whole number"),
        ({"lower_case": 1}, "lower_case is 1; needs true or false"),
        ({"num_attention_heads": 5}, "num_attention_heads 5 does not divide"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        (
            {"layer_norm_epsilon": float("nan")},
            "layer_norm_epsilon is NaN; needs",
        ),
        ({"initializer_range": float("inf")}, "initializer_range is Infinity"),
        ({"layer_norm_epsilon": 1e300}, "layer_norm_epsilon is 1e.300; needs"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000; needs"),
        ({"vocab_size": 10**9}, "vocab_size is 10{9}; needs 1 <= x <= 16,777"),
        ({"vocab_size": 2**64}, "vocab_size is 18446744073709551616; needs"),
        ({"hidden_size": 2**40}, "hidden_size is 1"),
        ({"num_attention_heads": 2**40}, "num_attention_heads is 1"),
        ({"intermediate_size": 2**40}, "intermediate_size is 1"),
        ({"type_vocab_size": 2**40}, "type_vocab_size is 1"),
        ({"max_position_embeddings": 10**9}, "max_position_embeddings is 1"),
        ({"initializer_range": 1e300}, "initializer_range is 1e"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob is 1.0"),
        ({"hidden_act": "tanh"}, 'hidden_act is "tanh"; needs one of'),
        ({"hidden_act": None}, "hidden_act is null; needs one of"),
        ({"mlm_hidden_act": "tanh"}, 'mlm_hidden_act is "tanh"; needs one'),
        ({"mlm_hidden_act": 1}, "mlm_hidden_act is 1; needs one of"),
        ({"mlm_layer_norm_epsilon": 0}, "mlm_layer_norm_epsilon is 0"),
        ({"position_embedding": "none"}, 'position_embedding is "none"'),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path, fields, message):
    path = _write(tmp_path / "c.json", **{**_FIELDS, **fields})
    with pytest.raises(ValueError, match=f"c.json: {message}"):
        BertConfig.from_json(path)


def test_a_missing_field_is_named(tmp_path):
    path = _write(tmp_path / "c.json", vocab_size=9)
    with pytest.raises(ValueError, match="c.json: .*lower_case.* missing"):
        BertConfig.from_json(path)


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 10**5, "\udcff"])
def test_a_file_that_is_no_json_object_is_named(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match="c.json:.*(JSON|object)"):
        BertConfig.from_json(path)


def test_an_unknown_name_lists_the_known_names():
    with pytest.raises(ValueError, match="huge: neither .*'base'"):
        BertConfig.from_json("huge", vocab_size=9, lower_case=True)
