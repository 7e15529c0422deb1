# SPDX-License-Identifier: Apache-2.0
"""kbert's export, asked in Python."""

import numpy as np

from benchmarks.serving_sides import LONGEST, Model


def prepare(model: Model) -> None:
    """Exports the encoder."""
    import dataclasses

    from kbert.checkpoints import huggingface
    from kbert.serving.export import export
    from kbert.serving.signatures import Signatures

    base = model.work / "kbert"
    if base.exists():
        return
    loaded = huggingface.load(model.hugging_face)
    spec = dataclasses.replace(loaded.spec, max_seq_length=LONGEST)
    signatures = Signatures(
        loaded.model, vocabulary=loaded.vocabulary, spec=spec
    )
    export(signatures, base)


def make(model: Model):
    """See `benchmarks.serving_sides`."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401, for its ops

    loaded = tf.saved_model.load(model.work / "kbert" / "1")
    embeddings = loaded.signatures["embeddings"]

    def answer(texts: list[str]) -> np.ndarray:
        return embeddings(text=tf.constant(texts))["embedding"].numpy()

    return answer
