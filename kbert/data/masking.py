# SPDX-License-Identifier: Apache-2.0
"""Hides tokens for masked-LM training, in the graph."""

import tensorflow as tf

from kbert import features
from kbert.text.vocabulary import Vocabulary

# Devlin et al. 2019, arXiv:1810.04805, section 3.1, task 1.
_SHARE_MASKED = 0.8
_SHARE_RANDOM = 0.1


def mask_tokens(
    token_ids: tf.Tensor,
    padding_mask: tf.Tensor,
    *,
    vocabulary: Vocabulary,
    max_predictions: int,
    masked_lm_prob: float,
    seed: tf.Tensor | tuple[int, int],
) -> dict[str, tf.Tensor]:
    """Picks tokens of each row to predict and hides most of them.

    Of n tokens, [CLS] and [SEP] counted, n * masked_lm_prob are picked,
    rounded, at least 1 and at most max_predictions; never [CLS], [SEP] or
    padding. 80 % of them become [MASK], 10 % any token of the vocabulary,
    10 % stay. So `mask_ids` tells what stood there.

    Example, max_predictions 3, masked_lm_prob 0.3: [CLS] 5 6 7 8 [SEP] may
    give token_ids [CLS] 5 [MASK] 7 8 [SEP], mask_positions [2, 4, 0],
    mask_ids [6, 8, 0] and mask_weights [1.0, 1.0, 0.0]: the 8 was kept.

    Args:
        token_ids: (B, S) int32.
        padding_mask: (B, S) int32, 0 where there is padding.
        vocabulary: decides [CLS], [SEP], [MASK] and the random tokens.
        max_predictions: P, the columns of the result.
        masked_lm_prob: share of the tokens to pick.
        seed: (2,) integers: the same ones give the same result.
    Returns: token_ids (B, S) int32; mask_positions, mask_ids (B, P) int32 and
        mask_weights (B, P) float32, in the order of the text, then zeros.
    """
    pick_seed, kind_seed, token_seed = tf.unstack(
        tf.random.split(tf.cast(seed, tf.int64), 3)
    )
    is_text_BS = (
        (padding_mask > 0)
        & (token_ids != vocabulary.cls_id)
        & (token_ids != vocabulary.sep_id)
    )
    wanted_B = _count(padding_mask, masked_lm_prob, max_predictions)
    positions_BP, picked_BP = _pick(
        is_text_BS, wanted_B, max_predictions, pick_seed
    )
    mask_ids_BP = tf.gather(token_ids, positions_BP, batch_dims=1)
    kind_BP = tf.random.stateless_uniform(tf.shape(positions_BP), kind_seed)
    new_BP = tf.random.stateless_uniform(
        tf.shape(positions_BP), token_seed, 0, len(vocabulary), tf.int32
    )
    new_BP = tf.where(
        kind_BP < _SHARE_MASKED + _SHARE_RANDOM, new_BP, mask_ids_BP
    )
    new_BP = tf.where(kind_BP < _SHARE_MASKED, vocabulary.mask_id, new_BP)
    return {
        "token_ids": _put(token_ids, positions_BP, picked_BP, new_BP),
        "mask_positions": positions_BP,
        features.MASK_IDS: tf.where(picked_BP, mask_ids_BP, 0),
        features.MASK_WEIGHTS: tf.cast(picked_BP, tf.float32),
    }


def _count(padding_mask, masked_lm_prob, max_predictions):
    length_B = tf.math.count_nonzero(padding_mask, axis=1)
    share_B = tf.round(tf.cast(length_B, tf.float64) * masked_lm_prob)
    return tf.clip_by_value(tf.cast(share_B, tf.int32), 1, max_predictions)


def _pick(is_text_BS, wanted_B, max_predictions, seed):
    """Draws positions without replacement: (B, P), sorted, and which count."""
    length = tf.shape(is_text_BS)[1]
    draw_BS = tf.random.stateless_uniform(tf.shape(is_text_BS), seed)
    draw_BS = tf.where(is_text_BS, draw_BS, -1.0)
    size = tf.minimum(max_predictions, length)
    highest_BP, positions_BP = tf.math.top_k(draw_BS, size)
    taken_BP = (highest_BP >= 0) & (tf.range(size) < wanted_B[:, None])
    positions_BP = tf.sort(tf.where(taken_BP, positions_BP, length))
    spare = [[0, 0], [0, max_predictions - size]]
    positions_BP = tf.pad(positions_BP, spare, constant_values=length)
    picked_BP = positions_BP < length
    positions_BP = tf.where(picked_BP, positions_BP, 0)
    shape = (is_text_BS.shape[0], max_predictions)
    return tf.ensure_shape(positions_BP, shape), picked_BP


def _put(token_ids, positions_BP, picked_BP, new_BP):
    """Replaces the picked tokens; `where` drops the others' rows."""
    at = tf.where(picked_BP)
    rows = tf.cast(at[:, 0], tf.int32)
    columns = tf.gather_nd(positions_BP, at)
    return tf.tensor_scatter_nd_update(
        token_ids, tf.stack([rows, columns], 1), tf.gather_nd(new_BP, at)
    )
