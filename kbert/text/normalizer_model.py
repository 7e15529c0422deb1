# SPDX-License-Identifier: Apache-2.0
"""Builds a model for tf-text's normalizer from a map of code points.

`tf_text.FastBertNormalizer(model_buffer=...)` replaces each code point by a
string and records where each byte of the result came from. It ships with two
maps; this module builds any other.

Source: tensorflow/text, fast_bert_normalizer.h and darts_clone_trie_wrapper.h.
"""

from collections.abc import Sequence

import flatbuffers
import numpy as np

CODE_POINTS = 0x110000
UNCHANGED = -1
_REACH = 5 << 18  # code points that four bytes of UTF-8, F0 to F4, could spell
_HAS_VALUE, _IS_VALUE, _CHANGED = 1 << 8, 1 << 31, 1 << 30
_MAX_LENGTH = 63  # bytes of a string
_MAX_UNITS = 1 << 21  # a unit stores an address of 21 bits


def build(strings: Sequence[str], string_of: np.ndarray) -> bytes:
    """Builds the model that replaces code point c by strings[string_of[c]].

    Args:
        strings: the replacements, each of up to 63 bytes. The first must be
            empty; it replaces bytes that are not UTF-8, which deletes them.
        string_of: (0x110000,) int; UNCHANGED keeps an ASCII character.
            Surrogates are not UTF-8 and need 0.
    Raises: ValueError if a string is too long, or if the map has too many
        different blocks of 64 code points (about 16,000 fit).
    """
    pool, values = _values(strings)
    units = _trie(values, np.append(string_of, np.zeros(_REACH, int))[:_REACH])
    if len(units) > _MAX_UNITS:
        raise ValueError(f"{len(units)} units; at most {_MAX_UNITS} fit.")
    builder = flatbuffers.Builder(len(pool) + 4 * len(units) + 64)
    pool_at = builder.CreateNumpyVector(np.frombuffer(pool, np.uint8))
    units_at = builder.CreateNumpyVector(units)
    # The trie cannot store code point 0, so the table does.
    zero = 0 if string_of[0] == UNCHANGED else int(values[string_of[0]])
    builder.StartObject(4)  # slot 0, the name of a built-in map, is unused
    builder.PrependUOffsetTRelativeSlot(1, units_at, 0)
    builder.PrependInt32Slot(2, zero, 0)
    builder.PrependUOffsetTRelativeSlot(3, pool_at, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def _values(strings: Sequence[str]) -> tuple[bytes, np.ndarray]:
    """Returns all strings in one pool, and their packed offset and length."""
    encoded = [string.encode() for string in strings]
    lengths = np.array([len(string) for string in encoded])
    if lengths.max() > _MAX_LENGTH:
        longest = strings[int(lengths.argmax())]
        raise ValueError(
            f"{longest!r} has {lengths.max()} bytes; at most {_MAX_LENGTH} "
            "can replace a code point."
        )
    starts = np.cumsum(lengths) - lengths
    return b"".join(encoded), _CHANGED | starts << 6 | lengths


def _trie(values: np.ndarray, string_of: np.ndarray) -> np.ndarray:
    """Builds a double-array trie over UTF-8 that stores equal pages once.

    A page has the 64 nodes for the continuation bytes 80 to BF, each at the
    page's address ^ byte. The target of a node is the address of the page for
    the next byte or, after the last byte, of a value. The page's own address
    has the value for a sequence that ends too early: deletion.

    Args:
        values: the value of each string.
        string_of: (_REACH,) the index of the string that replaces each code
            point.
    Returns: the units, uint32.
    """
    first_value = 512  # the root is unit 0; its 256 children start at 256
    size = 256 * (1 + (first_value + len(values)) // 256)
    units = np.zeros(size, np.uint32)
    units[first_value:][: len(values)] = _IS_VALUE | values
    targets, levels = first_value + string_of, []
    for too_short in (0, 32, 16):
        # Overlong sequences are not UTF-8.
        targets = np.append(
            np.full(too_short, targets[-1]), targets[too_short:]
        )
        rows, row_of = _distinct(targets.reshape(-1, 64))
        pages = len(units) + _addresses(len(rows))
        units = np.append(units, np.zeros(256 * -(-len(rows) // 2), np.uint32))
        units[pages] = units[first_value]
        _write(units, pages[:, np.newaxis], np.arange(0x80, 0xC0), rows)
        targets = pages[row_of]
        levels.append(targets)
    root = np.full(256, first_value)
    root[:0x80] = first_value + string_of[:0x80]
    root[0xC0:0xE0] = levels[0][:32]
    root[0xC0:0xC2] = levels[0][-1]  # too short
    root[0xE0:0xF0] = levels[1][:16]
    root[0xF0:0xF5] = levels[2]
    _write(units, 256, np.arange(256), root)
    units[256:384][string_of[:0x80] == UNCHANGED] = 0  # no node
    units[0] = 256 << 10
    return units


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct rows, and the index of each row among them."""
    # np.unique would sort, and take ten times as long.
    number: dict[bytes, int] = {}
    row_of = [number.setdefault(row.tobytes(), len(number)) for row in rows]
    _, first = np.unique(row_of, return_index=True)
    return rows[first], np.array(row_of)


def _addresses(count: int) -> np.ndarray:
    """Returns the addresses of pages: 0 and 64 in each block of 256 units.

    Their nodes are at 128 and 192.
    """
    index = np.arange(count)
    return 256 * (index // 2) + 64 * (index % 2)


def _write(units, page, byte, target):
    """Writes the nodes for `byte` on `page`."""
    at = page ^ byte
    units[at] = (at ^ target) << 10 | _HAS_VALUE | byte
