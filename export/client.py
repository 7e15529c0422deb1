# SPDX-License-Identifier: Apache-2.0
"""Sends requests to a served model and prints JSON, one object per line.

    python export/client.py --text="A fine film." --text="Two dull hours."
    python export/client.py --text="The cat sat." --text_b="A cat was sitting."
    python export/client.py --row='{"question": "Who?", "context": "It was I."}'

A row is a JSON object with the inputs of the signature; --text is short for
{"text": ...}, and with --text_b for {"text_a": ..., "text_b": ...}. REST needs
only Python; --grpc needs the package tensorflow-serving-api.
"""

import argparse
import http.client
import json
import os
import sys
import urllib.error
import urllib.request

URL = "http://localhost:8501/v1/models/kbert"


def given_rows(given: argparse.Namespace) -> list[dict]:
    """Returns the rows of the flags.

    Raises: ValueError, naming the flag.
    """
    rows = []
    for text in given.row:
        try:
            row = json.loads(text)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise ValueError(f"--row: {text!r}; needs a JSON object")
        rows.append(row)
    if given.text_b and len(given.text_b) != len(given.text):
        raise ValueError("--text_b: needs as many as --text")
    if given.text_b:
        pairs = zip(given.text, given.text_b, strict=True)
        rows += [{"text_a": a, "text_b": b} for a, b in pairs]
    else:
        rows += [{"text": text} for text in given.text]
    if not rows:
        raise ValueError("needs --text or --row")
    if len({frozenset(row) for row in rows}) > 1:
        raise ValueError("--row: the rows have different names")
    return rows


def ask_rest(url: str, signature: str, rows: list[dict]) -> list:
    """Sends rows over REST and returns an answer for each.

    Raises: OSError, with the server's message; ValueError if it is not an
        answer of TensorFlow Serving; http.client.HTTPException.
    """
    body = {"signature_name": signature, "instances": rows}
    request = urllib.request.Request(
        f"{url}:predict",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        message = error.read().decode("utf-8", "replace")
        raise OSError(f"{error.code} {error.reason}: {message}") from None
    if "predictions" not in answer:
        raise ValueError(f"expected predictions, got {answer}")
    return answer["predictions"]


def ask_grpc(
    address: str, model: str, signature: str, rows: list[dict]
) -> list[dict]:
    """Sends rows by gRPC and returns an answer for each.

    Raises: OSError, with the server's message; ValueError for lists of
        different lengths.
    """
    import grpc
    import numpy as np
    import tensorflow as tf
    from tensorflow_serving.apis import (
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name in rows[0]:
        values = np.array([row[name] for row in rows])  # ValueError
        dtype = tf.string if values.dtype.kind in "US" else tf.int32
        values = values.astype(object) if dtype == tf.string else values
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values, dtype))
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            response = stub.Predict(request, timeout=60)
        except grpc.RpcError as error:
            raise OSError(f"{error.code().name}: {error.details()}") from None
    columns = {
        name: tf.make_ndarray(value)
        for name, value in sorted(response.outputs.items())
    }
    return [
        {name: _plain(column[i]) for name, column in columns.items()}
        for i in range(len(rows))
    ]


def _plain(value):
    """Converts a value to JSON types."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if value.shape:
        return [_plain(x) for x in value]
    return value.item()


def main(arguments: list[str]) -> str | None:
    """Prints a line for each row; returns an error message or None."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--url", default=URL, help="the model's address (default: %(default)s)"
    )
    parser.add_argument(
        "--grpc",
        metavar="HOST:PORT",
        help="use gRPC, with the model name at the end of the URL",
    )
    parser.add_argument("--signature", default="serving_default")
    parser.add_argument("--text", action="append", default=[])
    parser.add_argument("--text_b", action="append", default=[])
    parser.add_argument("--row", action="append", default=[])
    given = parser.parse_args(arguments)
    try:
        rows = given_rows(given)
    except ValueError as error:
        parser.error(str(error))
    try:
        if given.grpc:
            model = given.url.rpartition("/")[2]
            answers = ask_grpc(given.grpc, model, given.signature, rows)
        else:
            answers = ask_rest(given.url, given.signature, rows)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{given.grpc or given.url}: {error}"
    for answer in answers:
        print(json.dumps(answer, ensure_ascii=False))
    return None


def run() -> str | int | None:
    """Runs the script with UTF-8 output; returns its exit status."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        error = main(sys.argv[1:])
        sys.stdout.flush()
        return error
    except BrokenPipeError:  # for example of `| head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(run())
