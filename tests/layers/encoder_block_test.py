# SPDX-License-Identifier: Apache-2.0
"""The encoder block against PyTorch's, and its two forms of rows."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.layers import EncoderBlock, rematerialize

H, N, F = 8, 2, 12
_RNG = np.random.default_rng(3)


def _block(**changes):
    arguments = {
        "num_heads": N,
        "intermediate_size": F,
        "hidden_act": "gelu_erf",
        "layer_norm_epsilon": 1e-5,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "initializer_range": 0.3,
    }
    return EncoderBlock(**{**arguments, **changes})


def _lengths_mask(lengths, length):
    mask = np.arange(length) < np.array(lengths)[:, None]
    return mask[:, None, None, :]


def test_equals_the_post_norm_layer_of_pytorch():
    torch = pytest.importorskip("torch")
    block = _block()
    rows = _RNG.normal(size=(3, 5, H)).astype("float32")
    mask = _lengths_mask([5, 3, 1], 5)
    block.build(rows.shape, mask.shape)
    for variable in block.trainable_variables:
        variable.assign(_RNG.normal(size=variable.shape, scale=0.5))
    layer = torch.nn.TransformerEncoderLayer(
        H, N, F, dropout=0.0, activation="gelu", batch_first=True
    ).eval()
    norms = block._attention_norm, block._output_norm
    weights = {
        "self_attn.in_proj_weight": block.qkv_kernel.numpy().T,
        "self_attn.in_proj_bias": block.qkv_bias.numpy(),
        "self_attn.out_proj.weight": block.attention_kernel.numpy().T,
        "self_attn.out_proj.bias": block.attention_bias.numpy(),
        "linear1.weight": block.inner_kernel.numpy().T,
        "linear1.bias": block.inner_bias.numpy(),
        "linear2.weight": block.output_kernel.numpy().T,
        "linear2.bias": block.output_bias.numpy(),
        "norm1.weight": norms[0].gamma.numpy(),
        "norm1.bias": norms[0].beta.numpy(),
        "norm2.weight": norms[1].gamma.numpy(),
        "norm2.bias": norms[1].beta.numpy(),
    }
    layer.load_state_dict(
        {k: torch.from_numpy(v.copy()) for k, v in weights.items()}
    )
    padding = torch.from_numpy(~mask[:, 0, 0])
    with torch.no_grad():
        want = layer(torch.from_numpy(rows), src_key_padding_mask=padding)
    tokens = mask[:, 0, 0]
    got = keras.ops.convert_to_numpy(block(rows, mask))
    np.testing.assert_allclose(got[tokens], want.numpy()[tokens], atol=1e-5)


def test_parts_of_unequal_length_give_what_padded_rows_give():
    """The texts 1 and 2 to their longest, of 2 tokens, then text 0 of 4."""
    block = _block()
    padded = _RNG.normal(size=(3, 4, H)).astype("float32")
    mask = _lengths_mask([4, 2, 1], 4)
    want = np.asarray(block(padded, mask))
    tokens = mask[:, 0, 0]
    masks = [_lengths_mask([2, 1], 2), _lengths_mask([4], 4)]
    # Rows 0 to 3 are of text 0, 4 and 5 of text 1, 6 of text 2.
    slots = {
        "slot_rows": [np.int32([[4, 5], [6, 0]]), np.int32([[0, 1, 2, 3]])],
        # Head 0 in the two slots of text 1 has the indices 0 and 1, head 1 has
        # 2 and 3; text 2 follows, and then text 0.
        "row_slots": np.int32(
            [[8, 12], [9, 13], [10, 14], [11, 15], [0, 2], [1, 3], [4, 6]]
        ),
    }
    got = block(padded[tokens], masks, **slots)
    np.testing.assert_allclose(got, want[tokens], atol=1e-6)
    positions = [np.int32([[1, 0], [0, 0]]), np.int32([[3, 1]])]
    got = block(padded[tokens], masks, positions=positions, **slots)
    some = [want[1, [1, 0]], want[2, [0, 0]], want[0, [3, 1]]]
    np.testing.assert_allclose(got, np.stack(some), atol=1e-6)


def test_parts_have_separate_dropout_masks():
    """Two texts alike, each a part: with one mask they would stay alike."""
    block = _block(attention_dropout=0.5)
    text = _RNG.normal(size=(4, H)).astype("float32")
    mask = _lengths_mask([4], 4)
    heads = np.arange(4)[:, None] + 4 * np.arange(N)  # (T, N)
    first, second = np.split(
        np.asarray(
            block(
                np.concatenate([text, text]),
                [mask, mask],
                [np.arange(4)[None], 4 + np.arange(4)[None]],
                np.concatenate([heads, N * 4 + heads]),
                training=True,
            )
        ),
        2,
    )
    assert np.abs(first - second).max() > 0.05


def test_a_mask_for_each_query_keeps_two_texts_of_a_row_apart():
    block = _block()
    rows = _RNG.normal(size=(1, 5, H)).astype("float32")
    text = np.array([[1, 1, 2, 2, 2]])
    mask = (text[:, :, None] == text[:, None, :])[:, None]
    together = block(rows, mask)
    second = block(rows[:, 2:], np.ones((1, 1, 1, 3), bool))
    np.testing.assert_allclose(together[:, 2:], second, atol=1e-6)


def test_a_text_of_padding_alone_gives_numbers():
    rows = np.ones((1, 3, H), "float32")
    output = _block()(rows, np.zeros((1, 1, 1, 3), bool))
    assert np.isfinite(keras.ops.convert_to_numpy(output)).all()


@pytest.mark.parametrize("rate", ["dropout", "attention_dropout"])
def test_dropout_acts_in_training_only(rate):
    block = _block(**{rate: 0.5})
    rows = _RNG.normal(size=(2, 3, H)).astype("float32")
    mask = np.ones((2, 1, 1, 3), bool)
    still = block(rows, mask)
    np.testing.assert_array_equal(still, block(rows, mask))
    change = np.abs(block(rows, mask, training=True) - still)
    assert change.max() > 0.05


def test_heads_that_do_not_divide_the_width_are_named():
    with pytest.raises(ValueError, match="3 heads do not divide 8"):
        _block(num_heads=3).build((None, None, H), (None, 1, 1, None))


def test_one_row_index_alone_is_an_error():
    with pytest.raises(ValueError, match="belong together"):
        _block().build((None, H), (None, 1, 1, None), (None,))


POSITIONS = np.array([[0, 4, 4], [2, 0, 1], [0, 0, 0]], "int32")


@pytest.mark.parametrize("whole_mask", [False, True])
def test_some_positions_alone_are_those_of_the_whole(whole_mask):
    block = _block()
    lengths = [5, 3, 1]
    rows = _RNG.normal(size=(3, 5, H)).astype("float32")
    mask = _lengths_mask(lengths, 5)
    if whole_mask:  # each query sees other keys
        mask = mask & (_RNG.random(size=(3, 1, 5, 5)) < 0.7)
    whole = np.asarray(block(rows, mask))
    want = np.take_along_axis(whole, POSITIONS[:, :, None], axis=1)
    got = block(rows, mask, positions=POSITIONS)
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert np.ptp(want, axis=1).max() > 0.1


def _trained(blocks, remat, positions):
    """Loss and gradients of a training step, and the graph that makes them."""
    rows = keras.Input((5, H))
    output = rows
    for block in blocks:
        at = positions if block is blocks[-1] else None
        output = block(output, _lengths_mask([5, 3, 1], 5), positions=at)
    model = keras.Model(rows, output)
    for block in blocks:
        block.remat = False
        for variable in block.non_trainable_variables:
            variable.assign([7, 0])  # the same dropout in all
    if remat:
        rematerialize(model)

    @tf.function
    def step(rows):
        with tf.GradientTape() as tape:
            tape.watch(rows)
            loss = tf.reduce_sum(tf.sin(3 * model(rows, training=True)))
        variables = [v.value for v in model.trainable_variables]
        return loss, *tape.gradient(loss, [rows, *variables])

    values = np.random.default_rng(5).normal(size=(3, 5, H)).astype("float32")
    graph = step.get_concrete_function(tf.constant(values)).graph
    kinds = collections.Counter(op.type for op in graph.get_operations())
    # An op of norms without the custom gradient.
    assert not kinds["SquaredDifference"]
    return [x.numpy() for x in step(tf.constant(values))], kinds["Softmax"]


@pytest.mark.parametrize("positions", [None, POSITIONS])
def test_remat_computes_again_and_gets_the_same(positions):
    rates = {"dropout": 0.3, "attention_dropout": 0.3}
    blocks = [_block(**rates), _block(**rates)]
    want, once = _trained(blocks, False, positions)
    got, twice = _trained(blocks, True, positions)
    assert (once, twice) == (2, 4)
    assert len(got) == 2 + 2 * 12
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)
    blocks[0].attention_dropout = blocks[1].attention_dropout = 0.0
    still, _ = _trained(blocks, True, positions)
    assert np.abs(still[1] - want[1]).max() > 1e-2  # dropout does act


def test_custom_gradients_are_in_training_alone():
    """Those of both norms; a SavedModel would warn about them."""
    block = _block()
    mask = np.ones((1, 1, 1, 3), bool)

    def count(training):
        graph = tf.function(lambda rows: block(rows, mask, training=training))
        graph = graph.get_concrete_function(tf.TensorSpec((1, 3, H))).graph
        return [op.type for op in graph.get_operations()].count("IdentityN")

    assert (count(True), count(False)) == (2, 0)
