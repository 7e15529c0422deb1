# SPDX-License-Identifier: Apache-2.0
"""A map of code points that tf-text runs, against the map itself."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text as tf_text

from kbert.text import normalizer_model


def test_any_map_runs_as_given():
    rng = np.random.default_rng(3)
    strings = ["", "x", " ", "é", "日本", "\U0010ffff", "a" * 63]
    string_of = rng.integers(0, len(strings), normalizer_model.CODE_POINTS)
    string_of[0x20000:] = 1  # a map that is all irregular does not fit
    string_of[0xD800:0xE000] = 0
    string_of[:0x80:2] = normalizer_model.UNCHANGED
    model = normalizer_model.build(strings, string_of)
    normalizer = tf_text.FastBertNormalizer(
        model_buffer=tf.constant(np.frombuffer(model, np.uint8))
    )
    points = [*range(0xD800), *range(0xE000, 0x110000, 7), 0x10FFFF]
    texts = ["".join(map(chr, points[i::99])) for i in range(99)]

    def mapped(c):
        number = string_of[ord(c)]
        return c if number == normalizer_model.UNCHANGED else strings[number]

    got, origins = normalizer.normalize_with_offsets(tf.constant(texts))
    for text, clean, origin in zip(
        texts, got.numpy(), origins.to_list(), strict=True
    ):
        assert clean.decode() == "".join(map(mapped, text))
        sizes = [len(c.encode()) for c in text]
        starts = np.cumsum([0, *sizes])
        want = np.repeat(starts[:-1], [len(mapped(c).encode()) for c in text])
        assert origin == [*want, starts[-1]]


def test_a_string_that_is_too_long():
    string_of = np.zeros(normalizer_model.CODE_POINTS, int)
    with pytest.raises(ValueError, match="'aaa.*has 64 bytes; at most 63"):
        normalizer_model.build(["", "a" * 64], string_of)


def test_a_map_that_does_not_fit():
    rng = np.random.default_rng(3)
    string_of = rng.integers(0, 9, normalizer_model.CODE_POINTS)
    with pytest.raises(ValueError, match="units; at most 2097152 fit"):
        normalizer_model.build([""] + ["a"] * 8, string_of)
