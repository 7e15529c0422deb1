# SPDX-License-Identifier: Apache-2.0
"""The README of an export: a request and response of each signature."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from kbert.markdown import code, fill, table

Pair = tuple[predict_pb2.PredictRequest, predict_pb2.PredictResponse]

_MAX_ELEMENTS, _FEW = 20, 3  # of a list; of one that is truncated
_MAX_CLASSES = 50  # in a table of a response
_CLASSES_FILE = (
    "Probabilities and logits of classes are in the order of "
    "`assets/labels.json`."
)


def markdown(pairs: Iterable[Pair], labels: Sequence[str] = ()) -> str:
    """Writes the README.md of an export.

    Args:
        pairs: requests and their responses; the first of each signature is
            shown.
        labels: the classes of the probabilities and logits.
    """
    sections: dict[str, str] = {}
    for request, response in pairs:
        name = request.model_spec.signature_name
        if name not in sections:
            client = "" if sections else _client(name, request, response)
            sections[name] = _section(name, request, response, labels, client)
    return fill(
        "kbert.serving",
        "requests.md",
        longest=_MAX_ELEMENTS,
        few=_FEW,
        classes=_CLASSES_FILE if labels else "",
        signatures="\n".join(sections.values()).rstrip("\n"),
    )


def rest_request(request: predict_pb2.PredictRequest) -> dict[str, Any]:
    """Converts a PredictRequest to the body of a REST request, by rows."""
    columns = {k: _plain(v) for k, v in sorted(request.inputs.items())}
    rows = zip(*columns.values(), strict=True)
    return {
        "signature_name": request.model_spec.signature_name,
        "instances": [dict(zip(columns, row, strict=True)) for row in rows],
    }


def rest_answer(response: predict_pb2.PredictResponse) -> dict[str, Any]:
    """Converts a response to the server's REST answer, by rows.

    A single output has no name there.
    """
    columns = {k: _plain(v) for k, v in sorted(response.outputs.items())}
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, r, strict=True)) for r in rows]}


def _section(name, request, response, labels, client) -> str:
    tensors = []
    for kind, by_name in (
        ("input", request.inputs),
        ("output", response.outputs),
    ):
        for key, value in sorted(by_name.items()):
            rank = len(value.tensor_shape.dim)
            shape = ", ".join("BNM"[:rank]) + ("," if rank == 1 else "")
            dtype = tf.as_dtype(value.dtype).name
            tensors.append(f"| {kind} | `{key}` | ({shape}) | {dtype} |")
    body = json.dumps(rest_request(request), ensure_ascii=False)
    return fill(
        "kbert.serving",
        "signature.md",
        name=name,
        tensors="\n".join(tensors),
        request=code(f"POST http://HOST:8501/v1/models/kbert:predict\n{body}"),
        response=code(_shown(rest_answer(response))),
        numbers="\n\n".join(_of_each(request, response, labels)),
        client=client,
    )


def _client(name, request, response) -> str:
    """A client in Python for gRPC."""
    inputs = [
        f'request.inputs["{key}"].CopyFrom('
        f"tf.make_tensor_proto({_plain(value)!r}))"
        for key, value in sorted(request.inputs.items())
    ]
    outputs = [
        f'print(tf.make_ndarray(response.outputs["{key}"]))'
        for key in sorted(response.outputs)
    ]
    client = fill(
        "kbert.serving",
        "grpc_client.txt",
        name=name,
        inputs="\n".join(inputs),
        outputs="\n".join(outputs),
    )
    return (
        "By gRPC, with the package tensorflow-serving-api:\n\n"
        f"{code(client.rstrip(), 'python')}"
    )


def _of_each(request, response, labels) -> Iterator[str]:
    """Yields tables of the first row's numbers with their names."""
    outputs = {k: _plain(v)[0] for k, v in response.outputs.items()}
    for output in ("probabilities", "logits"):
        numbers = outputs.get(output, [])
        named = _names(numbers, request, outputs, labels)
        if named:
            kind, names = named
            rows = list(zip(names, numbers, strict=False))
            yield table((kind, output), rows[:_MAX_CLASSES])
            if len(rows) > _MAX_CLASSES:
                yield f"{len(rows) - _MAX_CLASSES:,} more are left out."


def _names(numbers, request, outputs, labels):
    """Returns the names of a row's numbers: classes, choices or answers.

    None if there are no names, or if the numbers are not a flat list.
    """
    if not numbers or isinstance(numbers[0], list):
        return None
    if "answers" in outputs:
        return "answer", outputs["answers"][: outputs["count"]]
    if "choices" in request.inputs:
        return "choice", _plain(request.inputs["choices"])[0]
    return ("class", labels) if len(labels) == len(numbers) else None


def _shown(answer) -> str:
    """Formats an answer as JSON, one output per line."""
    rows = []
    for row in answer["predictions"]:
        if not isinstance(row, dict):
            rows.append(f"    {_json(row)}")
            continue
        lines = [f'      "{k}": {_json(v)}' for k, v in row.items()]
        rows.append("    {\n" + ",\n".join(lines) + "\n    }")
    return '{\n  "predictions": [\n' + ",\n".join(rows) + "\n  ]\n}"


def _json(value) -> str:
    return json.dumps(_short(value), ensure_ascii=False)


def _plain(tensor) -> list[Any]:
    """Converts a TensorProto to a list for JSON."""
    array = tf.make_ndarray(tensor)
    if array.dtype == object:
        texts = [x.decode("utf-8", "replace") for x in array.ravel()]
        array = np.array(texts, object).reshape(array.shape)
    return array.tolist()


def _short(value):
    """Rounds numbers and truncates long lists."""
    if isinstance(value, float):
        return round(value, 4)
    if not isinstance(value, list):
        return value
    if len(value) <= _MAX_ELEMENTS:
        return [_short(x) for x in value]
    few = [_short(x) for x in value[:_FEW]]
    return [*few, f"... {len(value) - _FEW:,} more"]
