# SPDX-License-Identifier: Apache-2.0
"""Requests and answers of an export, for whoever writes a client."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from kbert.markdown import code, table

Pair = tuple[predict_pb2.PredictRequest, predict_pb2.PredictResponse]

_LONGEST, _FEW = 20, 3  # elements of a list in an answer; of one that is cut
_CLASSES = 50  # in a table of an answer
_HEAD = f"""\
# Requests and answers

This folder is one version of a model for TensorFlow Serving, written by kbert.
The server needs the folder above it:

```
docker run --rm -p 8500:8500 -p 8501:8501 -e MODEL_NAME=kbert \\
    -v "$PWD/..:/models/kbert" tensorflow/serving
```

Each signature takes any number of rows; a request has one element a row in
each input. A count or a length says how much of a row is meant: what stands
behind it is not read. The requests below can be sent as they are. The answers
are the model's, numbers rounded; of a list of more than {_LONGEST} elements
the first {_FEW} are shown, and how many more there are.
"""

_CLASSES_FILE = """\
Probabilities and logits of classes are in the order of `assets/labels.json`.
"""

_GRPC = """\
import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

channel = grpc.insecure_channel("HOST:8500")
stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
request = predict_pb2.PredictRequest()
request.model_spec.name = "kbert"
request.model_spec.signature_name = "{name}"
{inputs}
response = stub.Predict(request, timeout=10)
{outputs}"""


def markdown(pairs: Iterable[Pair], labels: Sequence[str] = ()) -> str:
    """README.md of an export: the first request of each signature.

    Args:
        pairs: requests and their answers.
        labels: the classes that an answer's probabilities and logits are of.
    """
    parts, seen = [_HEAD], set()
    if labels:
        parts.append(_CLASSES_FILE)
    for request, response in pairs:
        name = request.model_spec.signature_name
        if name not in seen:
            parts.append(
                _section(name, request, response, labels, first=not seen)
            )
            seen.add(name)
    return "\n".join(parts)


def rest_request(request: predict_pb2.PredictRequest) -> dict[str, Any]:
    """The body of the row form that says the same as a PredictRequest."""
    columns = {k: _plain(v) for k, v in sorted(request.inputs.items())}
    rows = zip(*columns.values(), strict=True)
    return {
        "signature_name": request.model_spec.signature_name,
        "instances": [dict(zip(columns, row, strict=True)) for row in rows],
    }


def rest_answer(response: predict_pb2.PredictResponse) -> dict[str, Any]:
    """The server's answer in the row form.

    A single output stands by itself, without its name.
    """
    columns = {k: _plain(v) for k, v in sorted(response.outputs.items())}
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, r, strict=True)) for r in rows]}


def _section(name, request, response, labels, *, first) -> str:
    head = ["| | name | shape | type |", "| --- | --- | --- | --- |"]
    for kind, tensors in (
        ("input", request.inputs),
        ("output", response.outputs),
    ):
        for key, value in sorted(tensors.items()):
            rank = len(value.tensor_shape.dim)
            shape = ", ".join("BNM"[:rank]) + ("," if rank == 1 else "")
            dtype = tf.as_dtype(value.dtype).name
            head.append(f"| {kind} | `{key}` | ({shape}) | {dtype} |")
    body = json.dumps(rest_request(request), ensure_ascii=False)
    parts = [
        f"## {name}",
        "\n".join(head),
        code(f"POST http://HOST:8501/v1/models/kbert:predict\n{body}"),
        code(_shown(rest_answer(response))),
        *_of_each(request, response, labels),
    ]
    if first:
        parts.append("By gRPC, with the package tensorflow-serving-api:")
        parts.append(code(_grpc(name, request, response), "python"))
    return "\n\n".join(parts) + "\n"


def _grpc(name, request, response) -> str:
    inputs = [
        f'request.inputs["{key}"].CopyFrom('
        f"tf.make_tensor_proto({_plain(value)!r}))"
        for key, value in sorted(request.inputs.items())
    ]
    outputs = [
        f'print(tf.make_ndarray(response.outputs["{key}"]))'
        for key in sorted(response.outputs)
    ]
    return _GRPC.format(
        name=name, inputs="\n".join(inputs), outputs="\n".join(outputs)
    )


def _of_each(request, response, labels) -> Iterator[str]:
    """What the numbers of the first row are of, name by name."""
    outputs = {k: _plain(v)[0] for k, v in response.outputs.items()}
    for output in ("probabilities", "logits"):
        numbers = outputs.get(output, [])
        named = _names(numbers, request, outputs, labels)
        if named:
            kind, names = named
            rows = list(zip(names, numbers, strict=False))
            yield table((kind, output), rows[:_CLASSES])
            if len(rows) > _CLASSES:
                yield f"{len(rows) - _CLASSES:,} more are left out."


def _names(numbers, request, outputs, labels):
    """What a row's numbers are of: classes, choices or answers.

    None where each has a row of its own, or there is nothing to name.
    """
    if not numbers or isinstance(numbers[0], list):
        return None
    if "answers" in outputs:
        return "answer", outputs["answers"][: outputs["count"]]
    if "choices" in request.inputs:
        return "choice", _plain(request.inputs["choices"])[0]
    return ("class", labels) if len(labels) == len(numbers) else None


def _shown(answer) -> str:
    """An answer's JSON, an output a line."""
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
    """A TensorProto as JSON can have it."""
    array = tf.make_ndarray(tensor)
    if array.dtype == object:
        texts = [x.decode("utf-8", "replace") for x in array.ravel()]
        array = np.array(texts, object).reshape(array.shape)
    return array.tolist()


def _short(value):
    """Numbers rounded, and the first elements of what is long."""
    if isinstance(value, float):
        return round(value, 4)
    if not isinstance(value, list):
        return value
    if len(value) <= _LONGEST:
        return [_short(x) for x in value]
    few = [_short(x) for x in value[:_FEW]]
    return [*few, f"... {len(value) - _FEW:,} more"]
