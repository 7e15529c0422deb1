# SPDX-License-Identifier: Apache-2.0
"""kbert's export, called from Python."""

from typing import Any

import numpy as np

from benchmarks.serving_sides import KBERT, LONGEST, WITHOUT_TEXT, Model


def prepare(model: Model) -> None:
    """Exports the encoder; and saves it as it is, without text."""
    import dataclasses
    import shutil

    import tensorflow as tf

    from kbert import features
    from kbert.checkpoints import huggingface
    from kbert.serving.export import export
    from kbert.serving.signatures import Signatures

    base = model.work / KBERT
    if (model.work / WITHOUT_TEXT).exists():  # the last that is written
        return
    shutil.rmtree(base, ignore_errors=True)
    loaded = huggingface.load(model.hugging_face)
    spec = dataclasses.replace(loaded.spec, max_seq_length=LONGEST)
    signatures = Signatures(
        loaded.model, vocabulary=loaded.vocabulary, spec=spec
    )
    export(signatures, base)
    encoder = loaded.model
    specs = {
        name: tf.TensorSpec((None, None), tf.int32, name)
        for name in features.ENCODER_INPUTS
    }
    encode = tf.function(lambda **inputs: encoder(inputs, training=False))
    plain: Any = tf.Module()
    plain.weights = [weight.value for weight in encoder.weights]
    graph = encode.get_concrete_function(**specs)
    tf.saved_model.save(plain, model.work / WITHOUT_TEXT, signatures=graph)


def make(model: Model):
    """See `benchmarks.serving_sides`."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401, for its ops

    loaded = tf.saved_model.load(model.work / KBERT / "1")
    embeddings = loaded.signatures["embeddings"]

    def answer(texts: list[str]) -> np.ndarray:
        return embeddings(text=tf.constant(texts))["embedding"].numpy()

    return answer
