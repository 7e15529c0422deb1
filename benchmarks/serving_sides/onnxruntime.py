# SPDX-License-Identifier: Apache-2.0
"""onnxruntime with transformers' tokenizer, padded to the longest."""

import numpy as np

from benchmarks.serving_sides import THREADS, Model

_NAMES = ("input_ids", "attention_mask", "token_type_ids")


def prepare(model: Model) -> None:
    """Writes model.onnx by PyTorch's exporter."""
    import torch
    import transformers

    from benchmarks.serving_sides import pytorch

    file = model.work / "model.onnx"
    if file.exists():
        return
    folder = str(model.hugging_face)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["a fine film", "two", "dull hours of it"]
    inputs = pytorch.tokenize(tokenizer, texts, "pt")
    torch.onnx.export(
        pytorch.Embedder(folder, "eager").eval(),
        tuple(inputs[name] for name in _NAMES),
        str(file),
        input_names=list(_NAMES),
        output_names=["embedding"],
        dynamic_axes={name: {0: "rows", 1: "tokens"} for name in _NAMES},
        dynamo=False,
    )


def make(model: Model):
    """See `benchmarks.serving_sides`."""
    import onnxruntime
    import transformers

    from benchmarks.serving_sides import pytorch

    tokenizer = transformers.AutoTokenizer.from_pretrained(
        str(model.hugging_face)
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(
        str(model.work / "model.onnx"), options
    )

    def answer(texts: list[str]) -> np.ndarray:
        inputs = pytorch.tokenize(tokenizer, texts, "np")
        return session.run(None, {name: inputs[name] for name in _NAMES})[0]

    return answer
