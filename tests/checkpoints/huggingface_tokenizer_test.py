# SPDX-License-Identifier: Apache-2.0
"""The tokenizer files of a Hugging Face folder: which counts, which not."""

import json

import pytest
import tokenizers

from kbert.checkpoints import huggingface_tokenizer


@pytest.fixture
def files(tmp_path, vocabulary):
    """Writes the three files, or those of them that are not None."""

    def write(config=(), normalizer=(), tokens=vocabulary.tokens):
        if tokens is not None:
            text = "".join(f"{token}\n" for token in tokens)
            (tmp_path / "vocab.txt").write_text(text, "utf-8")
        if config is not None:
            text = json.dumps(dict(config))
            (tmp_path / "tokenizer_config.json").write_text(text)
        if normalizer is not None:
            theirs = tokenizers.BertWordPieceTokenizer(
                {token: i for i, token in enumerate(vocabulary.tokens)},
                **dict(normalizer),
            )
            theirs.save(str(tmp_path / "tokenizer.json"))
        return tmp_path

    return write


def _read(path, lower_case=None):
    lines = []
    return huggingface_tokenizer.read(path, lower_case, lines.append), lines


def test_each_file_alone_is_enough(files, vocabulary, tmp_path):
    path = files({"do_lower_case": True}, normalizer=None)
    assert _read(path) == ((vocabulary, None), [])
    (path / "vocab.txt").unlink()
    (path / "tokenizer_config.json").unlink()
    with pytest.raises(ValueError, match="no vocab.txt and no tokenizer.json"):
        _read(path)
    path = files(None, tokens=None)
    (got, _), _ = _read(path)
    assert (got.tokens, got.lower_case) == (vocabulary.tokens, True)


@pytest.mark.parametrize(
    ("config", "normalizer", "want"),
    [
        ({}, {"lowercase": False, "strip_accents": None}, (False, False, True)),
        (
            {"strip_accents": None},
            {"strip_accents": False},
            (True, False, True),
        ),
        (
            {"do_lower_case": False, "strip_accents": True},
            None,
            (False, True, True),
        ),
        (
            {"do_lower_case": True, "tokenize_chinese_chars": False},
            None,
            (True, True, False),
        ),
    ],
)
def test_casing(config, normalizer, want, files):
    (got, _), _ = _read(files(config, normalizer))
    assert want == (
        got.lower_case,
        got.strip_accents,
        got.tokenize_chinese_chars,
    )


def test_casing_of_only_one_file_is_printed(files):
    (vocabulary, _), lines = _read(files({}, {}))
    assert vocabulary.lower_case
    assert "tokenizer_config.json has no do_lower_case: using that" in lines[0]


def test_another_mask_token(files):
    path = files({"do_lower_case": True}, None)
    (path / "special_tokens_map.json").write_text('{"mask_token": "<mask>"}')
    message = "special_tokens_map.json: mask_token is '<mask>'; kbert's"
    with pytest.raises(ValueError, match=message):
        _read(path)


def test_casing_from_the_caller(files):
    path = files(None, None)
    assert not _read(path, lower_case=False)[0][0].lower_case


def test_the_caller_settles_a_casing_on_which_files_disagree(files):
    path = files({"do_lower_case": False}, {"lowercase": True})
    for lower_case in (True, False):
        (vocabulary, _), lines = _read(path, lower_case)
        assert vocabulary.lower_case is lower_case
        assert any(f"using --lower_case, {lower_case}" in x for x in lines)


def test_blank_and_doubled_lines_keep_their_ids(files, vocabulary):
    tokens = ["the", "", *vocabulary.tokens]
    path = files({"do_lower_case": True}, None, tokens)
    (found, _), lines = _read(path)
    assert found.tokens[2:] == vocabulary.tokens
    assert len(lines) == 2 and "vocab.txt: 1 lines are blank" in lines[0]
    # And where transformers has made tokenizer.json of it.
    files(None, {}, tokens)
    file = path / "tokenizer.json"
    whole = json.loads(file.read_text())
    ids = {token: index for index, token in enumerate(tokens)}
    whole["model"]["vocab"] = ids
    whole["added_tokens"] = []
    file.write_text(json.dumps(whole))
    (again, _), lines = _read(path)
    assert again.tokens == found.tokens
    unused = [line for line in lines if "have no token" in line]
    assert unused and all("vocab.txt: " in line for line in unused)  # once
    (path / "vocab.txt").unlink()
    (again, _), lines = _read(path)
    assert again.tokens == found.tokens
    assert "tokenizer.json: 2 lines are blank" in lines[0]


@pytest.mark.parametrize(
    ("config", "normalizer", "lower_case", "message"),
    [
        ({}, None, None, "do_lower_case is missing. Give --lower_case=true"),
        (
            {"do_lower_case": True},
            None,
            False,
            "do_lower_case is True, but --lower_case is False",
        ),
        (
            {"do_lower_case": False},
            {},
            None,
            "do_lower_case is False, but .*tokenizer.json: lowercase is True",
        ),
        (
            {"do_lower_case": "yes"},
            None,
            None,
            "do_lower_case is 'yes'; needs",
        ),
        (
            {"tokenizer_class": "BertJapaneseTokenizer"},
            None,
            True,
            "tokenizer_class is 'BertJapaneseTokenizer'; kbert's tokenizer has",
        ),
        (
            {"do_basic_tokenize": False},
            None,
            True,
            "do_basic_tokenize is False",
        ),
        (
            {"mask_token": {"content": "<mask>", "lstrip": True}},
            None,
            True,
            "mask_token is '<mask>'; kbert's tokenizer has '.MASK.'",
        ),
        ({"padding_side": "left"}, None, True, "padding_side is 'left'; kb"),
        ({"added_tokens_decoder": [1]}, None, True, "in an unknown form"),
        (
            {"added_tokens_decoder": {"15": {"content": 7}}},
            None,
            True,
            "in an unknown form",
        ),
    ],
)
def test_what_is_refused(config, normalizer, lower_case, message, files):
    path = files(config, normalizer)
    with pytest.raises(ValueError, match=f"{path}.*{message}"):
        _read(path, lower_case)


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        ("model", {"type": "BPE"}, "model: type is 'BPE'; kbert's tokenizer"),
        ("model", {"unk_token": "<unk>"}, "model: unk_token is '<unk>'"),
        (
            "model",
            {"vocab": {"a": 0, "b": 10**12}},
            "model: vocab is not an object of",
        ),
        ("model", {"vocab": ["a"]}, "model: vocab is not an object of tokens"),
        ("normalizer", {"type": "NFC"}, "normalizer: type is 'NFC'; kbert's"),
        ("pre_tokenizer", {"type": "Metaspace"}, "pre_tokenizer: type is 'Me"),
        ("normalizer", None, "normalizer is missing; needs that of a BERT"),
    ],
)
def test_another_kind_of_tokenizer(part, fields, message, files):
    path = files(tokens=None) / "tokenizer.json"
    whole = json.loads(path.read_text())
    whole[part] = fields and {**whole[part], **fields}
    path.write_text(json.dumps(whole))
    with pytest.raises(ValueError, match=rf"tokenizer\.json: {message}"):
        _read(path.parent)


def test_rows_are_those_of_bert(files, vocabulary):
    path = files(None) / "tokenizer.json"
    theirs = tokenizers.Tokenizer.from_file(str(path))
    special = [("[CLS]", vocabulary.cls_id), ("[SEP]", vocabulary.sep_id)]
    pair = "[CLS] $A [SEP] $B:1 [SEP]:1"
    for single, is_berts in (("[CLS] $A [SEP]", True), ("[CLS] $A", False)):
        theirs.post_processor = tokenizers.processors.TemplateProcessing(
            single=single, pair=pair, special_tokens=special
        )
        theirs.save(str(path))
        if is_berts:
            _read(path.parent)
    with pytest.raises(ValueError, match="json: post_processor does not make"):
        _read(path.parent)


def test_two_vocabularies_that_differ(files, vocabulary):
    path = files(tokens=vocabulary.tokens[:-1])
    with pytest.raises(ValueError, match="have different tokens"):
        _read(path)


def test_added_tokens_and_the_length_are_printed(files, vocabulary):
    config = {
        "do_lower_case": True,
        "model_max_length": 12,
        "added_tokens_decoder": {
            "1": {"content": "[UNK]"},
            "15": {"content": "<entity>"},
        },
        "extra_special_tokens": ["<other>"],
        "additional_special_tokens": ["<older>"],
    }
    path = files(config, None)
    (path / "added_tokens.json").write_text('{"<more>": 17}')
    (_, length), lines = _read(path)
    assert length == 12
    assert lines == [
        "4 added tokens, which kbert's tokenizer does not treat specially: "
        "<entity>, <more>, <older>, <other>."
    ]
    config["model_max_length"] = int(1e30)  # no limit
    assert _read(files(config, None))[0][1] is None
