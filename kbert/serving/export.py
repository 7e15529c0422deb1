# SPDX-License-Identifier: Apache-2.0
"""Exports a model as a SavedModel for TensorFlow Serving."""

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from kbert import atomic_files
from kbert.serving import (
    canonical,
    portability,
    replay,
    request_samples,
    warmup,
)
from kbert.serving.samples import Samples
from kbert.serving.signatures import EMBEDDINGS, TOKEN_IDS, Signatures
from kbert.tasks.predictor import SIGNATURE

LABELS_FILE = "labels.json"  # the class names, if any, as an asset
# For a server with --enable_per_model_batching_parameters. Requests with more
# rows are refused: if split, their outputs could have different widths.
_BATCHING = """\
max_batch_size { value: 64 }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 1000 }
enable_large_batch_splitting { value: false }
pad_variable_length_inputs: true
"""
_MAX_VERSION = 2**63 - 1  # of a server
_STEPS = 4  # of an export, of about equal duration
# Relative to the largest number, or to 1; bfloat16 has 8 bits.
_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.03}


class Exported(NamedTuple):
    """The result of an export.

    Attributes:
        path: the folder of the version.
        num_bytes: the size of all its files.
        signatures: by name, the names of the inputs and of the outputs.
    """

    path: pathlib.Path
    num_bytes: int
    signatures: dict[str, tuple[list[str], list[str]]]


def export(
    signatures: Signatures,
    base_dir: str | os.PathLike,
    *,
    version: int | None = None,
    min_server: tuple[int, int] = portability.LISTED[0],
    sample_texts: Sequence[str] = (),
    about: str = "",
    files: Mapping[str, bytes] = MappingProxyType({}),
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> Exported:
    """Writes and checks base_dir/<version>/, atomically.

    The same model gives the same bytes, in any process and folder. TensorFlow
    Serving looks into `base_dir` every second and ignores names that are not
    numbers; the folder has one of these until it is complete.

        saved_model.pb, variables/  the graphs of `Signatures`
        assets/                     vocabulary, casing, class names, for
                                    people; the graphs have their own copies
        assets.extra/tf_serving_warmup_requests
        batching_params.pbtxt       for the server
        README.md                   requests and answers of each signature

    Before the folder is renamed, a new process without kbert and Keras answers
    the warm-up requests from it, with the results of the model here, and
    survives malformed ones. The model with padding must give the same results
    too.

    Args:
        signatures: the signatures of a model.
        base_dir: the folder for all versions of the model.
        version: 1 or more; by default the highest version plus one.
        min_server: the version of the oldest server that must load it.
        sample_texts: the texts of one row, for the requests in README.md; by
            default neutral ones.
        about: additional text for README.md.
        files: additional files by name, such as licences.
        progress: called with the number of finished steps and of all steps.
    Raises: ValueError if the version exists already or is below 1, if a check
        fails, or if the model computes in float16; OSError.
    """
    if signatures.compute_dtype not in _TOLERANCE:
        raise ValueError(
            f"The model computes in {signatures.compute_dtype}; needs "
            f"{' or '.join(_TOLERANCE)}."
        )
    base = atomic_files.folder_path(base_dir)
    base.mkdir(parents=True, exist_ok=True)
    version = _free_version(base, version)
    path = base / str(version)
    with atomic_files.writing_folder(path) as partial:
        progress(0, _STEPS)
        graphs = signatures.by_name()
        samples = Samples(
            signatures.vocabulary,
            signatures.spec,
            _specs(graphs[SIGNATURE]),
            sample_texts,
        )
        progress(1, _STEPS)
        with _explain_full_disk(path):
            _save(signatures, graphs, partial)
        portability.check(partial, min_server)
        progress(2, _STEPS)
        requests = _requests(signatures, graphs, samples)
        with _explain_full_disk(path):
            warmup.write(partial, requests)
        answers = replay.answers_of_new_process(partial)
        progress(3, _STEPS)
        _check(signatures, graphs, requests, answers)
        progress(_STEPS, _STEPS)
        (partial / "batching_params.pbtxt").write_text(_BATCHING, "utf-8")
        text = request_samples.markdown(
            zip(requests, answers, strict=True), signatures.spec.labels
        )
        (partial / "README.md").write_text(text + about, "utf-8")
        for name, content in files.items():
            (partial / name).write_bytes(content)
    return Exported(
        path=path,
        num_bytes=sum(p.stat().st_size for p in path.rglob("*") if p.is_file()),
        signatures={
            name: (list(_specs(graph)), sorted(graph.structured_outputs))
            for name, graph in graphs.items()
        },
    )


@contextlib.contextmanager
def _explain_full_disk(path: pathlib.Path) -> Iterator[None]:
    """Converts TensorFlow's errors in writing to an OSError."""
    try:
        yield
    except tf.errors.OpError as error:
        reason = error.message.rpartition("; ")[2]
        raise OSError(f"{path}: not written: {reason}.") from None


def _free_version(base: pathlib.Path, version: int | None) -> int:
    names = [p.name for p in base.iterdir()]
    numbers = {int(x) for x in names if x.isascii() and x.isdecimal()}
    present = {x for x in numbers if x <= _MAX_VERSION}  # it ignores others
    if version is None:
        version = 1 + max(present, default=0)
    if not 1 <= version <= _MAX_VERSION:
        raise ValueError(
            f"{base}: version is {version}; needs 1 to {_MAX_VERSION}."
        )
    if version in present:
        raise ValueError(
            f"{base}: version {version} exists already; the next free one is "
            f"{1 + max(present)}."
        )
    return version


def _requests(signatures, graphs, samples) -> list[predict_pb2.PredictRequest]:
    """Returns, for each signature, a sample request and one of each size."""
    found = []
    for name, graph in graphs.items():
        found.append(samples.request(name, _specs(graph)))
        found += [
            warmup.request(
                name,
                _specs(graph),
                size,
                vocabulary=signatures.vocabulary,
                task=signatures.spec.task,
            )
            for size in warmup.sizes(signatures.spec.max_seq_length)
        ]
    return found


def _check(signatures, graphs, requests, answers):
    """Checks that the graphs here, and the padded ones, give these answers."""
    tolerance = _TOLERANCE[signatures.compute_dtype]
    padded = signatures.padded()
    for request, answer in zip(requests, answers, strict=True):
        name = request.model_spec.signature_name
        _compare(name, graphs[name], request, answer, tolerance)
        # The outputs of token_ids include padding, where they may differ.
        if name == EMBEDDINGS or (
            name == TOKEN_IDS and _num_rows(request) == 1
        ):
            _compare(name, padded[name], request, answer, tolerance)


def _save(signatures, graphs, folder):
    """Writes the graphs with their variables and assets.

    The module that made them is not saved: the server only restores variables
    that are saved as TensorFlow's, which Keras's are not.
    """
    root: Any = tf.Module()
    root.weights = signatures.weights
    with tempfile.TemporaryDirectory() as assets:
        root.assets = _write_assets(pathlib.Path(assets), signatures)
        tf.saved_model.save(root, folder, signatures=graphs)
    canonical.write(folder)


def _write_assets(folder, signatures) -> list[tf.saved_model.Asset]:
    signatures.vocabulary.save(folder)
    if signatures.spec.labels:
        labels = list(signatures.spec.labels)
        text = json.dumps(labels, ensure_ascii=False) + "\n"
        (folder / LABELS_FILE).write_text(text, encoding="utf-8")
    return [tf.saved_model.Asset(path) for path in sorted(folder.iterdir())]


def _specs(graph) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of a signature by name."""
    return {spec.name: spec for spec in graph.structured_input_signature[0]}


def _num_rows(request: predict_pb2.PredictRequest) -> int:
    tensor = next(iter(request.inputs.values()))
    return tensor.tensor_shape.dim[0].size


def _compare(name, graph, request, response, tolerance):
    """Checks that a graph gives a response."""
    inputs = [
        tf.constant(tf.make_ndarray(request.inputs[key]))
        for key in _specs(graph)
    ]
    for key, value in graph(*inputs).items():
        got = tf.make_ndarray(response.outputs[key])
        expected = value.numpy()
        same = got.shape == expected.shape and (
            _distance(got, expected) <= tolerance
            if expected.dtype == np.float32
            else (got == expected).all()
        )
        if not same:
            raise ValueError(
                f"The exported {name} does not answer as the model does: its "
                f"{key} differs."
            )


def _distance(got: np.ndarray, expected: np.ndarray) -> float:
    if not expected.size:
        return 0.0
    scale = max(1.0, np.abs(expected).max())
    return float(np.abs(got - expected).max() / scale)
