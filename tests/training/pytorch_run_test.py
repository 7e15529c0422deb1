# SPDX-License-Identifier: Apache-2.0
"""A pre-training run step by step against PyTorch's BertForPreTraining."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert import models
from kbert.checkpoints import huggingface
from kbert.training import losses
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.loop import Trainer
from kbert.training.optimizer import AdamW, WarmupDecay

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

STEPS, WARMUP, RATE, DECAY = 20, 5, 2e-3, 1.0
EPSILON = 1e-6  # kbert's; PyTorch's own is 1e-8


@pytest.fixture
def start(tmp_path, vocabulary):
    """A small BertForPreTraining, and a folder of it for kbert."""
    torch.manual_seed(8)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,  # so that gradients are longer than the clip
    )
    peer = transformers.BertForPreTraining(config)
    with torch.no_grad():  # else biases are 0, and would not show decay
        for parameter in peer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    peer.save_pretrained(tmp_path)
    text = "".join(f"{token}\n" for token in vocabulary.tokens)
    (tmp_path / "vocab.txt").write_text(text)
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": True})
    )
    return peer, tmp_path


def _batches():
    """Twenty batches with padding and unequal numbers of predictions."""
    rng = np.random.default_rng(2)
    B, S, P = 6, 12, 3
    for _ in range(STEPS):
        lengths = rng.integers(4, S + 1, B)
        mask = (np.arange(S) < lengths[:, None]).astype("int32")
        second = np.arange(S) >= rng.integers(2, S, B)[:, None]
        inputs = {
            "token_ids": rng.integers(5, 15, (B, S)).astype("int32") * mask,
            "segment_ids": second.astype("int32") * mask,
            "padding_mask": mask,
            "mask_positions": rng.permuted(
                np.tile(np.arange(1, 4), (B, 1)), axis=1
            ).astype("int32"),
        }
        labels = {
            "mlm_logits": rng.integers(5, 15, (B, P)).astype("int32"),
            "nsp_logits": rng.integers(0, 2, B).astype("int32"),
        }
        is_label = np.arange(P) < rng.integers(1, P + 1, B)[:, None]
        weights = {
            "mlm_logits": (is_label * is_label.size / is_label.sum()).astype(
                "float32"
            ),
            "nsp_logits": np.ones(B, "float32"),
        }
        yield inputs, labels, weights


def _peers_losses(peer):
    """Loss and length of the gradient at each step, in PyTorch."""
    plain = {"bias", "LayerNorm"}
    groups: dict[bool, list] = {True: [], False: []}
    for name, parameter in peer.named_parameters():
        groups[not plain & set(name.split("."))].append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": groups[True], "weight_decay": DECAY},
            {"params": groups[False], "weight_decay": 0.0},
        ],
        lr=RATE,
        eps=EPSILON,
    )

    def rate(step):
        up, down = (step + 1) / WARMUP, (STEPS - step) / (STEPS - WARMUP)
        return min(up, down, 1.0)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    values, lengths = [], []
    for inputs, labels, weights in _batches():
        words = np.full(inputs["token_ids"].shape, -100)  # not predicted
        np.put_along_axis(
            words,
            inputs["mask_positions"],
            np.where(weights["mlm_logits"] > 0, labels["mlm_logits"], -100),
            axis=1,
        )
        loss = peer(
            input_ids=torch.tensor(inputs["token_ids"]).long(),
            token_type_ids=torch.tensor(inputs["segment_ids"]).long(),
            attention_mask=torch.tensor(inputs["padding_mask"]).long(),
            labels=torch.tensor(words).long(),
            next_sentence_label=torch.tensor(labels["nsp_logits"]).long(),
        ).loss
        optimizer.zero_grad()
        loss.backward()
        length = torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        values.append(loss.item())
        lengths.append(length.item())
    return np.array(values), np.array(lengths)


@pytest.mark.parametrize("optimizer", [AdamW, FusedAdamW])
def test_twenty_steps_have_pytorchs_losses(optimizer, start):
    peer, path = start
    model = huggingface.load(path).model
    trainer = Trainer(
        model,
        losses=losses.pretraining_losses(),
        metrics=losses.pretraining_metrics(),
        optimizer=optimizer(
            WarmupDecay(RATE, WARMUP, STEPS),
            weight_decay=DECAY,
            epsilon=EPSILON,
        ),
        clip_norm=1.0,
    )
    got = []
    for batch in _batches():
        trainer.train_step(tf.nest.map_structure(tf.constant, batch))
        scores = trainer.means.take()
        got.append(scores["mlm_loss"] + scores["nsp_loss"])
    want, lengths = _peers_losses(peer.train())
    assert lengths.max() > 1.5  # some are clipped
    assert np.ptp(want) > 0.5  # and the steps matter
    difference = np.abs(np.array(got) - want).max()
    print(f"largest difference of a loss: {difference:.1e}")
    assert difference <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("padded", [True, False])
def test_dropout_spreads_the_outputs_as_pytorchs(padded, start):
    """Means and deviations over many draws: no two sides draw the same."""
    _, path = start
    file = path / "config.json"
    config = json.loads(file.read_text("utf-8"))
    config["hidden_dropout_prob"] = 0.1
    config["attention_probs_dropout_prob"] = 0.5
    file.write_text(json.dumps(config))
    peer = transformers.BertForPreTraining.from_pretrained(path).train()
    keras.utils.set_random_seed(3)
    torch.manual_seed(3)
    model = huggingface.load(path).model
    if not padded:
        model = models.without_padding(model, 2)
    inputs, *_ = next(_batches())

    @tf.function
    def draw():
        return model(inputs, training=True)["nsp_logits"]

    names = ("token_ids", "segment_ids", "padding_mask")
    ids, segments, mask = (torch.tensor(inputs[x]).long() for x in names)
    own, theirs = [], []
    with torch.no_grad():
        for _ in range(_DRAWS):
            own.append(draw().numpy())
            found = peer(ids, mask, segments)
            theirs.append(found.seq_relationship_logits.numpy())
    spreads = np.std(own, axis=0), np.std(theirs, axis=0)
    np.testing.assert_allclose(*spreads, rtol=0.1)
    assert np.mean(spreads[0] / spreads[1]) == pytest.approx(1, abs=0.03)
    error = np.hypot(*spreads) / _DRAWS**0.5
    np.testing.assert_array_less(
        np.abs(np.mean(own, axis=0) - np.mean(theirs, axis=0)), 4 * error
    )


_DRAWS = 2000  # a deviation's own error is then 1.6 %
