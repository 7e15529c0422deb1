# SPDX-License-Identifier: Apache-2.0
"""Masks tokens for masked-LM training, in the graph."""

import dataclasses
import itertools

import tensorflow as tf

from kbert import features
from kbert.text.vocabulary import Vocabulary

# Devlin et al. 2019, arXiv:1810.04805, section 3.1, task 1.
_SHARE_MASKED = 0.8
_SHARE_RANDOM = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Masking:
    """The settings of masking.

    Attributes:
        max_predictions: P, maximum predictions per row.
        masked_lm_prob: share of the tokens to predict.
        whole_words: whether all tokens of a word are masked together.
        max_ngram: maximum tokens, or whole words, masked as one span.
    Raises: ValueError, naming the field.
    """

    max_predictions: int
    masked_lm_prob: float
    whole_words: bool
    max_ngram: int

    def __post_init__(self):
        """Checks every field."""
        if type(self.max_predictions) is not int or self.max_predictions < 1:
            raise ValueError(
                f"max_predictions is {self.max_predictions}; needs at least 1."
            )
        if not 0 < self.masked_lm_prob < 1:
            raise ValueError(
                f"masked_lm_prob is {self.masked_lm_prob}; needs 0 < p < 1."
            )
        if not 1 <= self.max_ngram <= self.max_predictions:
            raise ValueError(
                f"max_ngram is {self.max_ngram}; needs at least 1 and at most "
                f"max_predictions, {self.max_predictions}."
            )


def mask_tokens(
    token_ids: tf.Tensor,
    padding_mask: tf.Tensor,
    *,
    vocabulary: Vocabulary,
    masking: Masking,
    seed: tf.Tensor | tuple[int, int],
) -> dict[str, tf.Tensor]:
    """Picks tokens of each row to predict and masks most of them.

    Of n tokens, including [CLS] and [SEP], n * masked_lm_prob are picked,
    rounded, at least 1 and at most max_predictions; never [CLS], [SEP] or
    padding. 80 % of them become [MASK], 10 % a random token, 10 % stay.
    `mask_ids` has the original tokens.

    Whole words are picked one by one, uniformly among the remaining words that
    fit into the remaining count; so a few picks may be missing. If all words
    of a row are longer than the count, one of the shortest is picked, if
    max_predictions allows it. With max_ngram each pick draws a length n, with
    p(n) proportional to 1 / n, then a position where n consecutive tokens (or
    words) remain and fit; if there is none, n is reduced.
    Source: google-research/bert, create_pretraining_data.py, for words; Lan
    et al. 2020, arXiv:1909.11942, section 3.1, for the lengths; Joshi et al.
    2020, arXiv:1907.10529, section 3.1, for spans of whole words.

    Example, max_predictions 3, masked_lm_prob 0.3: [CLS] 5 6 7 8 [SEP] may
    give token_ids [CLS] 5 [MASK] 7 8 [SEP], mask_positions [2, 4, 0],
    mask_ids [6, 8, 0] and mask_weights [1.0, 1.0, 0.0]: the 8 was kept.

    Args:
        token_ids: (B, S) int32.
        padding_mask: (B, S) int32, 0 at padding.
        vocabulary: the source of [CLS], [SEP], [MASK], "##" tokens and random
            tokens.
        masking: the settings.
        seed: (2,) integers; the same ones give the same result.
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
    num_picks_B = _count(padding_mask, masking)
    if masking.whole_words or masking.max_ngram > 1:
        continues_BS = tf.zeros_like(is_text_BS)
        if masking.whole_words:
            continues_BS = _continues_word(token_ids, is_text_BS, vocabulary)
        picked_BS = _pick_spans(
            is_text_BS, continues_BS, num_picks_B, masking, pick_seed
        )
        draw_BS = tf.cast(picked_BS, tf.float32) - 1.0
        num_picks_B = tf.fill(tf.shape(num_picks_B), masking.max_predictions)
    else:  # much faster: all picks at once
        draw_BS = tf.random.stateless_uniform(tf.shape(token_ids), pick_seed)
        draw_BS = tf.where(is_text_BS, draw_BS, -1.0)
    positions_BP, picked_BP = _highest_positions(
        draw_BS, num_picks_B, masking.max_predictions
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


def _count(padding_mask, masking):
    length_B = tf.math.count_nonzero(padding_mask, axis=1)
    share_B = tf.round(tf.cast(length_B, tf.float64) * masking.masked_lm_prob)
    return tf.clip_by_value(
        tf.cast(share_B, tf.int32), 1, masking.max_predictions
    )


def _continues_word(token_ids, is_text_BS, vocabulary):
    """Returns which tokens continue the word of the token before them."""
    is_suffix_V = tf.constant([t.startswith("##") for t in vocabulary.tokens])
    after_text_BS = tf.pad(is_text_BS, [[0, 0], [1, 0]])[:, :-1]
    return is_text_BS & after_text_BS & tf.gather(is_suffix_V, token_ids)


def _pick_spans(is_text_BS, continues_BS, num_picks_B, masking, seed):
    """Picks spans of words, one per row in each iteration: (B, S) bool.

    W is the axis of words. [CLS], [SEP] and padding tokens are words too, but
    never free to pick. Without whole words each token is a word.
    """
    length = tf.shape(is_text_BS)[1]
    index_W = tf.range(length)
    first_BW = tf.sort(tf.where(continues_BS, length, index_W))
    sizes_BW = [
        _shifted(first_BW, n, length) - first_BW
        for n in range(1, masking.max_ngram + 1)
    ]
    is_text_BW = tf.gather(
        tf.pad(is_text_BS, [[0, 0], [0, 1]]), first_BW, batch_dims=1
    )
    shortest_B = tf.reduce_min(
        tf.where(is_text_BW, sizes_BW[0], masking.max_predictions), axis=1
    )
    drawn_PB, chance_PB = _draw(num_picks_B, masking, seed)

    def pick(number, free_BW, rest_B, _):
        fit_BW = free_BW & (sizes_BW[0] <= rest_B[:, None])
        more = tf.reduce_any(fit_BW)
        words_B = tf.ones_like(rest_B)
        longer_BW = fit_BW
        for n, size_BW in enumerate(sizes_BW[1:], start=2):
            longer_BW &= _shifted(free_BW, n - 1, False)
            longer_BW &= size_BW <= rest_B[:, None]
            use_B = (drawn_PB[number] >= n) & tf.reduce_any(longer_BW, axis=1)
            fit_BW = tf.where(use_B[:, None], longer_BW, fit_BW)
            words_B += tf.cast(use_B, tf.int32)
        begin_B1 = _choose_index(fit_BW, chance_PB[number])[:, None]
        span_BW = (index_W >= begin_B1) & (
            index_W < begin_B1 + words_B[:, None]
        )
        rest_B -= tf.reduce_sum(tf.where(span_BW, sizes_BW[0], 0), axis=1)
        return number + 1, free_BW & ~span_BW, rest_B, more

    _, free_BW, _, _ = tf.while_loop(
        lambda number, free, rest, more: more,
        pick,
        (
            tf.constant(0),
            is_text_BW,
            # At least one word, whatever its length.
            tf.clip_by_value(num_picks_B, shortest_B, masking.max_predictions),
            tf.constant(True),
        ),
        maximum_iterations=masking.max_predictions,
    )
    word_BS = tf.cumsum(tf.cast(~continues_BS, tf.int32), axis=1) - 1
    return tf.gather(is_text_BW & ~free_BW, word_BS, batch_dims=1)


def _draw(num_picks_B, masking, seed):
    """Draws a length, with p(n) ~ 1 / n, and a uniform number for each pick."""
    shape = (2, masking.max_predictions, tf.shape(num_picks_B)[0])
    length_PB, chance_PB = tf.unstack(tf.random.stateless_uniform(shape, seed))
    shares = [1 / n for n in range(1, masking.max_ngram + 1)]
    below = list(itertools.accumulate(shares[:-1]))
    limits_N = tf.constant(below, tf.float32) / sum(shares)
    drawn_PB = 1 + tf.reduce_sum(
        tf.cast(length_PB[..., None] >= limits_N, tf.int32), axis=-1
    )
    return drawn_PB, chance_PB


def _shifted(x_BW, n, fill):
    """Shifts to the left by n columns."""
    return tf.pad(x_BW, [[0, 0], [0, n]], constant_values=fill)[:, n:]


def _choose_index(fit_BW, chance_B):
    """Returns the index (B,) of one True entry, W if there is none."""
    order_BW = tf.cumsum(tf.cast(fit_BW, tf.int32), axis=1)
    total_B = tf.cast(order_BW[:, -1], tf.float32)
    before_B1 = tf.cast(chance_B * total_B, tf.int32)[:, None]
    return tf.reduce_sum(tf.cast(order_BW <= before_B1, tf.int32), axis=1)


def _highest_positions(draw_BS, num_picks_B, max_predictions):
    """Returns the sorted positions (B, P) of the highest draws.

    Also returns which of them are picks: draws below 0 are not.
    """
    length = tf.shape(draw_BS)[1]
    size = tf.minimum(max_predictions, length)
    highest_BP, positions_BP = tf.math.top_k(draw_BS, size)
    taken_BP = (highest_BP >= 0) & (tf.range(size) < num_picks_B[:, None])
    positions_BP = tf.sort(tf.where(taken_BP, positions_BP, length))
    spare = [[0, 0], [0, max_predictions - size]]
    positions_BP = tf.pad(positions_BP, spare, constant_values=length)
    picked_BP = positions_BP < length
    positions_BP = tf.where(picked_BP, positions_BP, 0)
    shape = (draw_BS.shape[0], max_predictions)
    return tf.ensure_shape(positions_BP, shape), picked_BP


def _put(token_ids, positions_BP, picked_BP, new_BP):
    """Replaces the picked tokens."""
    at = tf.where(picked_BP)
    rows = tf.cast(at[:, 0], tf.int32)
    columns = tf.gather_nd(positions_BP, at)
    return tf.tensor_scatter_nd_update(
        token_ids, tf.stack([rows, columns], 1), tf.gather_nd(new_BP, at)
    )
