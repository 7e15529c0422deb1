# SPDX-License-Identifier: Apache-2.0
"""Requests and answers of an export, for whoever writes a client."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

Pair = tuple[predict_pb2.PredictRequest, predict_pb2.PredictResponse]

_HEAD = """\
# Requests and answers

This folder is one version of a model for TensorFlow Serving, written by kbert.
The server wants the folder above it:

```
docker run --rm -p 8500:8500 -p 8501:8501 -e MODEL_NAME=kbert \\
    -v "$PWD/..:/models/kbert" tensorflow/serving
```

Each signature takes any number of rows; a request has one element a row in
each input. A count or a length says how much of a row is meant: what stands
behind it is not read. Below are real answers, numbers rounded and long lists
cut.
"""

_REST = """\
```
POST http://HOST:8501/v1/models/kbert:predict
{request}
```

```
{answer}
```
"""

_GRPC = """\
By gRPC, with the package tensorflow-serving-api:

```python
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
{outputs}
```
"""
_LONGEST = 3  # of lists in a sample


def markdown(pairs: Iterable[Pair]) -> str:
    """README.md of an export: the first request of each signature."""
    parts, seen = [_HEAD], set()
    for request, response in pairs:
        name = request.model_spec.signature_name
        if name not in seen:
            parts.append(_section(name, request, response, first=not seen))
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


def _section(name, request, response, *, first) -> str:
    table = ["| | name | shape | type |", "| --- | --- | --- | --- |"]
    for kind, tensors in (
        ("input", request.inputs),
        ("output", response.outputs),
    ):
        for key, value in sorted(tensors.items()):
            rank = len(value.tensor_shape.dim)
            shape = ", ".join("BNM"[:rank]) + ("," if rank == 1 else "")
            dtype = tf.as_dtype(value.dtype).name
            table.append(f"| {kind} | `{key}` | ({shape}) | {dtype} |")
    rest = _REST.format(
        request=json.dumps(_short(rest_request(request))),
        answer=json.dumps(_short(rest_answer(response)), indent=2),
    )
    grpc = _grpc(name, request, response) if first else ""
    return "\n".join([f"## {name}", "", *table, "", rest, grpc])


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


def _plain(tensor) -> list[Any]:
    """A TensorProto as JSON can have it."""
    array = tf.make_ndarray(tensor)
    if array.dtype == object:
        texts = [x.decode("utf-8", "replace") for x in array.ravel()]
        array = np.array(texts, object).reshape(array.shape)
    return array.tolist()


def _short(value):
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    if isinstance(value, list):
        rows = value and isinstance(value[0], dict)
        return [_short(x) for x in (value if rows else value[:_LONGEST])]
    return value
