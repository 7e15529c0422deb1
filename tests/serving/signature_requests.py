# SPDX-License-Identifier: Apache-2.0
"""Requests for any signature, and what a server that joins them makes of it."""

import numpy as np
import tensorflow as tf

_STRANGE = ["", "\u0301\u0300\u20dd", "a\0b", "\ufeff", "[SEP] [CLS]"]
WORDS = ["the", "film", "was", "good", "bad", "not", "long", ".", "[MASK]"]


def specs_of(signature):
    """The inputs of a signature, by name."""
    args, kwargs = signature.structured_input_signature
    return {spec.name: spec for spec in (*args, *kwargs.values())}


def random_text(rng):
    """Up to 30 words."""
    return " ".join(rng.choice(WORDS, rng.integers(0, 31)))


def strange_text(rng):
    """Words, or bytes of any kind."""
    kind = rng.integers(4)
    if kind == 0:
        return str(rng.choice(_STRANGE)).encode()
    if kind == 1:
        return rng.bytes(int(rng.integers(0, 60)))
    return random_text(rng).encode()


def request(signature, rows, rng, text=random_text):
    """By name the inputs of so many rows, as wide as they happen to be.

    `text(rng)` makes one.
    """
    specs = specs_of(signature)
    if "lengths" in specs:
        return _token_ids(specs["token_ids"].shape, rows, rng)
    made, columns = {}, 0
    for name, spec in specs.items():
        if spec.dtype == tf.int32:  # how many texts there are
            made[name] = rng.integers(0, columns + 1, rows).astype("int32")
        elif spec.shape.rank == 2:
            columns = spec.shape[1] or int(rng.integers(1, 6))
            made[name] = np.array(
                [[text(rng) for _ in range(columns)] for _ in range(rows)],
                object,
            ).reshape(rows, columns)
        else:
            made[name] = np.array([text(rng) for _ in range(rows)], object)
    return made


def _token_ids(shape, rows, rng):
    width = int(rng.integers(4, 13))
    sizes = (size or int(rng.integers(1, 4)) for size in shape[1:-1])
    shape = (rows, *sizes, width)
    ids = rng.integers(4, 15, shape).astype("int32")
    ids[..., 0] = 2
    return {
        "token_ids": ids,
        "segment_ids": rng.integers(0, 2, shape).astype("int32"),
        "lengths": rng.integers(1, width + 1, shape[:-1]).astype("int32"),
    }


def malformed(inputs):
    """The same with one input of another rank, size or range, and its name."""
    for name, array in inputs.items():
        wrong = [array[np.newaxis], np.full((), _first(array), array.dtype)]

        if array.ndim == 2:
            wrong.append(array[:, 0] if array.size else array.reshape(-1))
        if array.ndim == 3:  # of choices
            wrong.append(array[:, :0])
        if len(inputs) > 1:
            more = (len(array) + 1, *array.shape[1:])
            wrong.append(np.full(more, _first(array), array.dtype))
        if array.dtype == np.int32:
            wrong += [
                np.full_like(array, x)
                for x in (-1, -(2**31), 2**31 - 1)
                if array.size
            ]
        for value in wrong:
            if value.shape != array.shape or array.dtype == np.int32:
                yield name, {**inputs, name: value.astype(array.dtype)}


def _first(array):
    return (
        array.ravel()[0] if array.size else {"i": 1}.get(array.dtype.kind, b"")
    )


def ask(signature, inputs):
    """What a signature answers, as arrays by name."""
    order = [inputs[name] for name in specs_of(signature)]
    answers = signature(*(tf.constant(x) for x in order))
    return {name: np.asarray(value) for name, value in answers.items()}


def assert_valid(answers, rows):
    """A row for each, numbers that are numbers, strings that are UTF-8."""
    for name, value in answers.items():
        assert len(value) == rows, name
        if value.dtype == object:
            for text in value.ravel():
                text.decode()
        else:
            assert np.isfinite(value).all(), name


def assert_refused(signature, name, inputs):
    """By an error that names the input."""
    try:
        ask(signature, inputs)
    except tf.errors.InvalidArgumentError as error:
        assert name in error.message, error.message
    else:
        raise AssertionError(f"{name} of {inputs} is taken.")


def ask_joined(signature, requests, allowed):
    """The answers to some requests that a server joins in one batch.

    As TensorFlow Serving does (batching_session.cc): each input is padded
    with its first element, the batch with its first row to an allowed size,
    and the answers are split again.
    """
    joined = {}
    for name in requests[0]:
        parts = [one[name] for one in requests]
        shape = np.max([part.shape[1:] for part in parts], axis=0)
        parts = [_padded(part, shape) for part in parts]
        whole = np.concatenate(parts)
        size = min(size for size in allowed if size >= len(whole))
        joined[name] = np.concatenate(
            [whole, np.repeat(whole[:1], size - len(whole), axis=0)]
        )
    answers = ask(signature, joined)
    assert {len(value) for value in answers.values()} == {size}
    ends = np.cumsum([len(next(iter(one.values()))) for one in requests])
    return [
        {name: value[end - rows : end] for name, value in answers.items()}
        for end, rows in zip(ends, np.diff(ends, prepend=0), strict=True)
    ]


def _padded(array, shape):
    if not array.size or array.ndim == 1:
        return array
    more = [
        (0, want - is_)
        for want, is_ in zip(shape, array.shape[1:], strict=True)
    ]
    fill = array.reshape(-1)[0]
    return np.pad(array, [(0, 0), *more], constant_values=fill)


# Outputs that are positions, and the scores which they are the best of.
_PLACES = {"choice": "probabilities", "best": "scores"}


def assert_same(got, want):
    """Answers are equal, but for padding at the ends of their rows.

    Of two positions with the same score, as of equal texts, either may be best.
    """
    assert set(got) == set(want)
    for name, value in want.items():
        cut = got[name][tuple(slice(size) for size in value.shape)]
        other = value[tuple(slice(size) for size in cut.shape)]
        if name in _PLACES:
            np.testing.assert_array_equal(cut < 0, other < 0, err_msg=name)
            scores = want[_PLACES[name]]
            cut, other = _at(scores, cut), _at(scores, other)
        if cut.dtype == np.float32:
            np.testing.assert_allclose(cut, other, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(cut, other, err_msg=name)


def _at(scores, positions):
    rows = positions.reshape(len(positions), -1)
    return np.take_along_axis(scores, np.maximum(rows, 0), axis=1)
