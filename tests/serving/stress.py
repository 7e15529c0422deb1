# SPDX-License-Identifier: Apache-2.0
"""Sends an export many rows, malformed requests between them, as a server does.

    python -m tests.serving.stress EXPORT ROWS

All of a signature's in this one process, which has to live and not to grow.
It needs what kbert/serving/replay.py needs: the TensorFlow of an old server
will do.
"""

import resource
import sys

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from kbert.serving import replay
from tests.serving import signature_requests as requests

_AT_ONCE, _PARTS = 100, 10  # rows of a request; times that memory is looked at
_MEGABYTE = b"the film \xcc\x81e\xcc\x81\xff" * 70_000


class Signature:
    """A signature of an export, called with its inputs in their order."""

    def __init__(self, served: replay.Served, name: str):
        self._served, self._name = served, name
        specs = [
            tf.TensorSpec(
                tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype), key
            )
            for key, info in sorted(served.signatures[name].inputs.items())
        ]
        specs.sort(key=lambda spec: spec.dtype == tf.int32)  # texts first
        self.structured_input_signature = ((), {x.name: x for x in specs})

    def __call__(self, *values):
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = self._name
        for name, value in zip(requests.specs_of(self), values, strict=True):
            request.inputs[name].CopyFrom(
                tf.make_tensor_proto(value.numpy(), value.dtype, value.shape)
            )
        outputs = self._served.answer(request).outputs
        return {name: tf.make_ndarray(x) for name, x in outputs.items()}


def main(export: str, rows: int) -> None:
    """Asks all signatures; an AssertionError tells what was wrong."""
    served = replay.Served(export)
    rng = np.random.default_rng(7)
    for name in sorted(served.signatures):
        refused = _stress(Signature(served, name), rows, rng, name)
        print(f"{name}: {rows} rows, {refused} requests refused", flush=True)


def _stress(signature, rows, rng, name):
    refused, peaks = 0, []
    is_text = "token_ids" not in requests.specs_of(signature)
    for part in range(_PARTS):
        for _ in range(rows // _PARTS // _AT_ONCE):
            one = requests.request(
                signature, _AT_ONCE, rng, requests.strange_text
            )
            requests.assert_valid(requests.ask(signature, one), _AT_ONCE)
            small = requests.request(signature, 2, rng)
            bad = list(requests.malformed(small))
            input_name, inputs = bad[refused % len(bad)]
            requests.assert_refused(signature, input_name, inputs)
            refused += 1
        if is_text and not part:
            one = requests.request(signature, 1, rng, lambda _: _MEGABYTE)
            requests.assert_valid(requests.ask(signature, one), 1)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert peaks[-1] < peaks[1] * 1.05 + 20_000, f"{name} grows: {peaks}"
    return refused


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
