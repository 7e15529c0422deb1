# SPDX-License-Identifier: Apache-2.0
"""Makes the requests that a server answers before a model is available."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from kbert.serving.replay import REQUESTS
from kbert.text.vocabulary import MASK, Vocabulary

_WORDS = ("A", "fine", "film", "from", "New", "York", ",", "not", "bad", ".")
_COLUMNS = 3  # of a row, where any number is allowed
MASKED_LM = ("masked_lm", "pretraining")  # tasks whose texts need a [MASK]


class Size(NamedTuple):
    """The number of rows of a request and the length of the longest."""

    rows: int
    words: int


def sizes(max_seq_length: int) -> list[Size]:
    """Returns the sizes: one row of maximum length, and a batch."""
    max_words = max_seq_length - 2  # without [CLS] and [SEP]
    return [Size(1, max_words), Size(32, max_words)]


def request(
    name: str,
    specs: Mapping[str, tf.TensorSpec],
    size: Size,
    *,
    vocabulary: Vocabulary,
    task: str,
) -> predict_pb2.PredictRequest:
    """Makes a request for a signature, with its inputs' shapes and dtypes.

    The lengths of several rows range from one word to the size's.
    """
    lengths = np.linspace(size.words, 1, size.rows).astype(int)
    made = predict_pb2.PredictRequest()
    made.model_spec.name = "kbert"
    made.model_spec.signature_name = name
    if "lengths" in specs:
        inputs = _token_ids(specs, lengths, vocabulary)
    else:
        masked = {"York": MASK} if task in MASKED_LM else {}
        words = [masked.get(word, word) for word in _WORDS]
        inputs = _texts(specs, lengths, words)
    for key, value in inputs.items():
        made.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return made


def _texts(specs, lengths, words) -> dict[str, np.ndarray]:
    made = {}
    texts = [_text(length, words) for length in lengths]
    for key, spec in specs.items():
        if spec.dtype == tf.string:
            if spec.shape.rank == 2:
                columns = spec.shape[1] or _COLUMNS
                made[key] = np.array([[x] * columns for x in texts], object)
            else:
                made[key] = np.array(texts, object)
        else:  # the number of texts
            made[key] = np.full(len(lengths), _COLUMNS, np.int32)
    return made


def _token_ids(specs, lengths, vocabulary):
    """Makes rows of [CLS], [MASK]s and [SEP]."""
    width = max(lengths) + 2
    ids = np.full((len(lengths), width), vocabulary.mask_id, np.int32)
    ids[:, 0] = vocabulary.cls_id
    position_S = np.arange(width)
    sizes_B1 = lengths[:, np.newaxis] + 2
    ids = np.where(position_S == sizes_B1 - 1, vocabulary.sep_id, ids)
    ids = np.where(position_S < sizes_B1, ids, vocabulary.pad_id)
    counts = (lengths + 2).astype(np.int32)
    rank = specs["token_ids"].shape.rank
    if rank == 3:
        columns = specs["token_ids"].shape[1] or _COLUMNS
        ids = np.repeat(ids[:, np.newaxis], columns, 1)
        counts = np.repeat(counts[:, np.newaxis], columns, 1)
    ids = ids.astype(np.int32)
    return {"token_ids": ids, "segment_ids": 0 * ids, "lengths": counts}


def _text(num_words: int, words: list[str]) -> str:
    times = -(-num_words // len(words))
    return " ".join((words * times)[:num_words])


def write(folder: pathlib.Path, requests: Any) -> None:
    """Writes assets.extra/tf_serving_warmup_requests, a TFRecord."""
    path = folder / REQUESTS
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in requests:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(one)
            # Deterministic, as a message's maps are unordered.
            writer.write(log.SerializeToString(deterministic=True))
