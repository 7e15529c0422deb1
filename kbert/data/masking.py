# SPDX-License-Identifier: Apache-2.0
"""Hides tokens for masked-LM training, in the graph."""

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
    """What is hidden of a row.

    Attributes:
        max_predictions: P, tokens to predict in a row at most.
        masked_lm_prob: share of the tokens to predict.
        whole_words: whether the pieces of a word, "##x", go with it.
        max_ngram: most tokens, or whole words, that are hidden in one go.
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
                f"max_predictions is {self.max_predictions}; wanted 1 or more."
            )
        if not 0 < self.masked_lm_prob < 1:
            raise ValueError(
                f"masked_lm_prob is {self.masked_lm_prob}; wanted 0 < p < 1."
            )
        if not 1 <= self.max_ngram <= self.max_predictions:
            raise ValueError(
                f"max_ngram is {self.max_ngram}; wanted 1 or more and at most "
                f"max_predictions, which is {self.max_predictions}."
            )


def mask_tokens(
    token_ids: tf.Tensor,
    padding_mask: tf.Tensor,
    *,
    vocabulary: Vocabulary,
    masking: Masking,
    seed: tf.Tensor | tuple[int, int],
) -> dict[str, tf.Tensor]:
    """Picks tokens of each row to predict and hides most of them.

    Of n tokens, [CLS] and [SEP] counted, n * masked_lm_prob are picked,
    rounded, at least 1 and at most max_predictions; never [CLS], [SEP] or
    padding. 80 % of them become [MASK], 10 % any token of the vocabulary,
    10 % stay. So `mask_ids` tells what stood there.

    Whole words are picked one by one, each word that is left and fits into
    the rest of the count as likely as the others; so a few may be missing.
    A row of longer words than the count loses one of its shortest, if
    max_predictions holds it. With max_ngram a length n is drawn for each
    pick, with p(n) proportional to 1 / n, then a place where n tokens (or
    words) in a row are left and fit; where there is none, n gets smaller.
    Source: google-research/bert, create_pretraining_data.py, for words; Lan
    et al. 2020, arXiv:1909.11942, section 3.1, for the lengths; Joshi et al.
    2020, arXiv:1907.10529, section 3.1, for spans of whole words.

    Example, max_predictions 3, masked_lm_prob 0.3: [CLS] 5 6 7 8 [SEP] may
    give token_ids [CLS] 5 [MASK] 7 8 [SEP], mask_positions [2, 4, 0],
    mask_ids [6, 8, 0] and mask_weights [1.0, 1.0, 0.0]: the 8 was kept.

    Args:
        token_ids: (B, S) int32.
        padding_mask: (B, S) int32, 0 where there is padding.
        vocabulary: decides [CLS], [SEP], [MASK], the pieces that go on in a
            word and the random tokens.
        masking: how many to pick, and what at once.
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
    wanted_B = _count(padding_mask, masking)
    if masking.whole_words or masking.max_ngram > 1:
        goes_on_BS = tf.zeros_like(is_text_BS)
        if masking.whole_words:
            goes_on_BS = _goes_on(token_ids, is_text_BS, vocabulary)
        picked_BS = _pick_spans(
            is_text_BS, goes_on_BS, wanted_B, masking, pick_seed
        )
        draw_BS = tf.cast(picked_BS, tf.float32) - 1.0
        wanted_B = tf.fill(tf.shape(wanted_B), masking.max_predictions)
    else:  # much quicker: all at once
        draw_BS = tf.random.stateless_uniform(tf.shape(token_ids), pick_seed)
        draw_BS = tf.where(is_text_BS, draw_BS, -1.0)
    positions_BP, picked_BP = _highest(
        draw_BS, wanted_B, masking.max_predictions
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


def _goes_on(token_ids, is_text_BS, vocabulary):
    """Which tokens belong to the word of the token before them."""
    is_piece_V = tf.constant([t.startswith("##") for t in vocabulary.tokens])
    after_text_BS = tf.pad(is_text_BS, [[0, 0], [1, 0]])[:, :-1]
    return is_text_BS & after_text_BS & tf.gather(is_piece_V, token_ids)


def _pick_spans(is_text_BS, goes_on_BS, wanted_B, masking, seed):
    """Draws spans of words, one of each row at a time: (B, S) bool.

    W counts words, where [CLS], [SEP], a token of padding and, if all go
    alone, each token is one. Only those of the text are ever free.
    """
    length = tf.shape(is_text_BS)[1]
    places_W = tf.range(length)
    first_BW = tf.sort(tf.where(goes_on_BS, length, places_W))
    sizes_BW = [
        _after(first_BW, n, length) - first_BW
        for n in range(1, masking.max_ngram + 1)
    ]
    is_text_BW = tf.gather(
        tf.pad(is_text_BS, [[0, 0], [0, 1]]), first_BW, batch_dims=1
    )
    shortest_B = tf.reduce_min(
        tf.where(is_text_BW, sizes_BW[0], masking.max_predictions), axis=1
    )
    drawn_PB, chance_PB = _draw(wanted_B, masking, seed)

    def pick(number, free_BW, rest_B, _):
        fit_BW = free_BW & (sizes_BW[0] <= rest_B[:, None])
        more = tf.reduce_any(fit_BW)
        words_B = tf.ones_like(rest_B)
        longer_BW = fit_BW
        for n, size_BW in enumerate(sizes_BW[1:], start=2):
            longer_BW &= _after(free_BW, n - 1, False)
            longer_BW &= size_BW <= rest_B[:, None]
            use_B = (drawn_PB[number] >= n) & tf.reduce_any(longer_BW, axis=1)
            fit_BW = tf.where(use_B[:, None], longer_BW, fit_BW)
            words_B += tf.cast(use_B, tf.int32)
        begin_B1 = _choose(fit_BW, chance_PB[number])[:, None]
        span_BW = (places_W >= begin_B1) & (
            places_W < begin_B1 + words_B[:, None]
        )
        rest_B -= tf.reduce_sum(tf.where(span_BW, sizes_BW[0], 0), axis=1)
        return number + 1, free_BW & ~span_BW, rest_B, more

    _, free_BW, _, _ = tf.while_loop(
        lambda number, free, rest, more: more,
        pick,
        (
            tf.constant(0),
            is_text_BW,
            # At least one word, however long.
            tf.clip_by_value(wanted_B, shortest_B, masking.max_predictions),
            tf.constant(True),
        ),
        maximum_iterations=masking.max_predictions,
    )
    word_BS = tf.cumsum(tf.cast(~goes_on_BS, tf.int32), axis=1) - 1
    return tf.gather(is_text_BW & ~free_BW, word_BS, batch_dims=1)


def _draw(wanted_B, masking, seed):
    """Lengths, with p(n) ~ 1 / n, and uniform numbers for P picks a row."""
    shape = (2, masking.max_predictions, tf.shape(wanted_B)[0])
    length_PB, chance_PB = tf.unstack(tf.random.stateless_uniform(shape, seed))
    shares = [1 / n for n in range(1, masking.max_ngram + 1)]
    below = list(itertools.accumulate(shares[:-1]))
    limits_N = tf.constant(below, tf.float32) / sum(shares)
    drawn_PB = 1 + tf.reduce_sum(
        tf.cast(length_PB[..., None] >= limits_N, tf.int32), axis=-1
    )
    return drawn_PB, chance_PB


def _after(x_BW, n, fill):
    """What stands n places further on."""
    return tf.pad(x_BW, [[0, 0], [0, n]], constant_values=fill)[:, n:]


def _choose(fit_BW, chance_B):
    """The place (B,) of one of those that are True, W if there is none."""
    order_BW = tf.cumsum(tf.cast(fit_BW, tf.int32), axis=1)
    total_B = tf.cast(order_BW[:, -1], tf.float32)
    before_B1 = tf.cast(chance_B * total_B, tf.int32)[:, None]
    return tf.reduce_sum(tf.cast(order_BW <= before_B1, tf.int32), axis=1)


def _highest(draw_BS, wanted_B, max_predictions):
    """The places of the highest draws: (B, P), sorted, and which count.

    Draws below 0 do not.
    """
    length = tf.shape(draw_BS)[1]
    size = tf.minimum(max_predictions, length)
    highest_BP, positions_BP = tf.math.top_k(draw_BS, size)
    taken_BP = (highest_BP >= 0) & (tf.range(size) < wanted_B[:, None])
    positions_BP = tf.sort(tf.where(taken_BP, positions_BP, length))
    spare = [[0, 0], [0, max_predictions - size]]
    positions_BP = tf.pad(positions_BP, spare, constant_values=length)
    picked_BP = positions_BP < length
    positions_BP = tf.where(picked_BP, positions_BP, 0)
    shape = (draw_BS.shape[0], max_predictions)
    return tf.ensure_shape(positions_BP, shape), picked_BP


def _put(token_ids, positions_BP, picked_BP, new_BP):
    """Replaces the picked tokens; `where` drops the others' rows."""
    at = tf.where(picked_BP)
    rows = tf.cast(at[:, 0], tf.int32)
    columns = tf.gather_nd(positions_BP, at)
    return tf.tensor_scatter_nd_update(
        token_ids, tf.stack([rows, columns], 1), tf.gather_nd(new_BP, at)
    )
