# SPDX-License-Identifier: Apache-2.0
"""KerasHub's layers in a SavedModel for strings, with fixed length."""

import numpy as np

from benchmarks.serving_sides import LONGEST, Model


def prepare(model: Model) -> None:
    """Writes the SavedModel: each row is padded to the longest there may be."""
    import keras_hub
    import tensorflow as tf

    folder = model.work / "keras_hub"
    if folder.exists():
        return
    preset = str(model.hugging_face)
    backbone = keras_hub.models.BertBackbone.from_preset(preset)
    tokenizer = keras_hub.models.BertTokenizer.from_preset(preset)
    packer = keras_hub.layers.StartEndPacker(
        LONGEST,
        start_value=tokenizer.cls_token_id,
        end_value=tokenizer.sep_token_id,
        pad_value=tokenizer.pad_token_id,
    )
    root = tf.Module()
    root.weights = [weight.value for weight in backbone.weights]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def embeddings(text):
        ids = packer(tokenizer(text))
        mask = tf.cast(ids != tokenizer.pad_token_id, tf.int32)
        sequence = backbone(
            {
                "token_ids": ids,
                "segment_ids": tf.zeros_like(ids),
                "padding_mask": mask,
            }
        )["sequence_output"]
        counted = tf.cast(mask, tf.float32)[:, :, tf.newaxis]
        total = tf.reduce_sum(sequence * counted, 1)
        return {"embedding": total / tf.reduce_sum(counted, 1)}

    root.tokenizer = tokenizer  # with its table
    tf.saved_model.save(root, folder, embeddings)


def make(model: Model):
    """See `benchmarks.serving_sides`."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401, for its ops

    loaded = tf.saved_model.load(model.work / "keras_hub")
    embeddings = loaded.signatures["serving_default"]

    def answer(texts: list[str]) -> np.ndarray:
        return embeddings(text=tf.constant(texts))["embedding"].numpy()

    return answer
