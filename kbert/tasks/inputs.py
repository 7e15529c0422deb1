# SPDX-License-Identifier: Apache-2.0
"""Converts texts, labels and weights that users pass in Python to lists."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_BUCKETS = 2**32  # of fingerprints, evenly filled


def unzipped(x: Any, y: Any = None) -> tuple[Any, Any]:
    """Texts and labels, of a finite Dataset of both too.

    Raises: ValueError for a Dataset without end or without labels, or for
        labels besides.
    """
    if not isinstance(x, tf.data.Dataset):
        return x, y
    if y is not None:
        raise ValueError("y is given with a Dataset, which has the labels.")
    if x.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("The Dataset has no end; needs .take(rows).")
    spec = x.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2:
        raise ValueError(
            f"The Dataset's elements are {spec}; needs (text, label) or "
            "((text, text), label)."
        )
    rows = list(x.as_numpy_iterator())
    if not rows:
        raise ValueError("The Dataset has no rows.")
    texts, labels = zip(*rows, strict=True)
    if isinstance(spec[0], tuple):
        return tuple(map(list, zip(*texts, strict=True))), list(labels)
    return list(texts), list(labels)


def columns(x: Any) -> tuple[list[Any], ...]:
    """The texts of a list, an array or a table's column; of a tuple several.

    Raises: ValueError if they differ in length, or for what is no list.
    """
    found = tuple(map(rows, x if isinstance(x, tuple) else (x,)))
    if len({len(column) for column in found}) > 1:
        lengths = " and ".join(str(len(column)) for column in found)
        raise ValueError(f"Got {lengths} texts; needs as many of each.")
    return found


def texts(x: Any, count: int) -> tuple[list[str], ...]:
    """So many columns of texts.

    Raises: ValueError for another number of columns, or, naming the row, from
        1, for what is no text.
    """
    found = columns(x)
    if len(found) != count:
        raise ValueError(
            f"Got {len(found)} texts a row; the model takes {count}."
        )
    for row, values in enumerate(zip(*found, strict=True), 1):
        for value in values:
            if not isinstance(value, str):
                raise ValueError(f"Row {row}: text {value!r}; needs a text.")
    return found


def rows(values: Any) -> list[Any]:
    """The elements, as Python's own types; of bytes their UTF-8.

    Raises: ValueError for a single text, or what is no list.
    """
    if isinstance(values, str | bytes | Mapping):
        raise ValueError(f"Got {values!r}; needs a list.")
    if hasattr(values, "tolist"):  # of NumPy and pandas
        values = values.tolist()
    try:
        values = list(values)
    except TypeError:
        raise ValueError(f"Got {values!r}; needs a list.") from None
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return [_plain(x) for x in value]
    if isinstance(value, Mapping):
        return {key: _plain(x) for key, x in value.items()}
    return value


def labels(y: Any, count: int) -> list[Any]:
    """As many as there are rows.

    Raises: ValueError for another number of them, or none.
    """
    if y is None:
        raise ValueError("y is missing; needs a label for each row.")
    found = rows(y)
    if len(found) != count:
        raise ValueError(
            f"Got {len(found):,} labels for {count:,} rows; needs one for each."
        )
    if not found:
        raise ValueError("Got no rows.")
    return found


def name(label: Any, row: int) -> str:
    """A label as task.json has it: numbers become their spelling.

    Raises: ValueError, naming the row, from 1, for one that is missing.
    """
    if label is None or label != label:  # NaN, of a table without a label
        raise ValueError(f"Row {row}: label {label!r}; needs a label.")
    return str(label)


def label_weights(
    names: Sequence[str],
    by_label: str | Mapping[str, float],
    labels: Sequence[str],
) -> np.ndarray:
    """(rows,) of the rows' losses, by their label; the mean is 1.

    Args:
        names: the label of each row.
        by_label: a weight for each label, or "balanced", for weights by which
            all labels count alike.
        labels: all that there are.
    Raises: ValueError, naming the flag, for weights of other labels.
    """
    indices = {label: i for i, label in enumerate(labels)}
    ids = [indices[name] for name in names]
    if isinstance(by_label, Mapping):
        if by_label.keys() != set(labels):
            raise ValueError(
                f"--class_weights: weights of {sorted(by_label)}; needs "
                f"those of {list(labels)}."
            )
        by_id = np.array([by_label[label] for label in labels])
    else:
        by_id = 1 / np.maximum(np.bincount(ids, minlength=len(labels)), 1)
    found = by_id[ids]
    return found / found.mean()


def weights(
    y: Any,
    sample_weight: Any,
    class_weight: Mapping[Any, float] | None,
) -> np.ndarray | None:
    """(rows,) float32: the product of both, or None without either.

    Raises: ValueError, naming the row, for a label that class_weight lacks or
        a weight that is not finite or below 0.
    """
    if sample_weight is None and class_weight is None:
        return None
    names = rows(y)
    found = np.ones(len(names), np.float32)
    if sample_weight is not None:
        found *= np.array(labels(sample_weight, len(names)), np.float32)
    if class_weight is not None:
        by_name = {str(key): value for key, value in class_weight.items()}
        for row, label in enumerate(map(str, names)):
            if label not in by_name:
                raise ValueError(
                    f"Row {row + 1}: class_weight has no weight for the label "
                    f"{label!r}; it has those of {list(by_name)}."
                )
            found[row] *= by_name[label]
    wrong = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
    if wrong.size:
        raise ValueError(
            f"Row {wrong[0] + 1}: weight {found[wrong[0]]}; needs 0 or more."
        )
    return found


def validation(data: Any) -> tuple[Any, ...]:
    """(x, y) or (x, y, sample_weight) to the arguments of `Task.dataset`.

    Raises: ValueError for another number of parts.
    """
    if isinstance(data, tf.data.Dataset):
        return unzipped(data)
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise ValueError(
            "validation_data: needs (x, y), (x, y, sample_weight) or a Dataset."
        )
    return tuple(data)


def is_validation(texts: Sequence[Any], share: float) -> bool:
    """Whether a row is for validation, not for training.

    By a fingerprint of its texts alone, so that rows of equal texts are
    always on the same side.
    """
    content = "\x00".join(map(str, texts)).encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(content, digest_size=4).digest()
    return int.from_bytes(digest, "big") < share * _BUCKETS


def sides(
    rows: Iterable[Sequence[Any]], share: float, setting: str
) -> tuple[list[int], list[int]]:
    """Indices of the training rows and of the validation rows.

    Args:
        rows: the texts of each.
        share: of the validation rows among all, about.
        setting: what gives the share, for messages.
    Raises: ValueError if the share is not between 0 and 1, or if a side is
        left without rows.
    """
    if not 0 < share < 1:
        raise ValueError(f"{setting}: needs more than 0, below 1.")
    found: tuple[list[int], list[int]] = ([], [])
    for index, texts in enumerate(rows):
        found[is_validation(texts, share)].append(index)
    if not all(found):
        count = sum(map(len, found))
        raise ValueError(
            f"{setting}: of {count:,} rows {len(found[1]):,} are for "
            "validation; needs some on both sides."
        )
    return found


def split(
    x: Any, y: Any, sample_weight: Any, share: float
) -> tuple[tuple[Any, Any, Any], tuple[Any, ...]]:
    """(x, y, sample_weight) of the training rows and the validation rows.

    Where y or sample_weight is None, it is None for both.

    Raises: ValueError as `sides` does.
    """
    texts = columns(x)
    count = len(texts[0])
    parts: list[Any] = [*texts, None, None]
    for index, values in ((-2, y), (-1, sample_weight)):
        if values is not None:
            parts[index] = labels(values, count)
    train, validation = sides(
        zip(*texts, strict=True), share, f"validation_split={share}"
    )

    def side(indices: list[int]) -> tuple[Any, ...]:
        *own, found_y, weight = (
            part and [part[i] for i in indices] for part in parts
        )
        return tuple(own) if len(own) > 1 else own[0], found_y, weight

    train_x, train_y, train_weight = side(train)
    val_x, val_y, val_weight = side(validation)
    weights = () if val_weight is None else (val_weight,)
    return (train_x, train_y, train_weight), (val_x, val_y, *weights)
