# SPDX-License-Identifier: Apache-2.0
"""The two pre-training losses and the accuracies reported beside them."""

import keras
from keras import ops

from kbert import features


@keras.saving.register_keras_serializable(package="kbert")
class LabelIsBest(keras.metrics.MeanMetricWrapper):
    """Accuracy: the share of labels that no other class beats.

    Update: labels (...) int, logits (..., C) float, weights (...) or None.
    It takes a maximum where Keras's accuracy takes an argmax, which is many
    times slower on a processor; a tie counts as right.
    """

    def __init__(self, name: str = "accuracy", dtype=None):
        super().__init__(_label_is_best, name=name, dtype=dtype)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


def _label_is_best(labels, logits):
    labels = ops.expand_dims(ops.cast(labels, "int32"), -1)
    own = ops.take_along_axis(logits, labels, axis=-1)
    best = ops.max(logits, axis=-1, keepdims=True)
    return ops.cast(ops.squeeze(own >= best, axis=-1), "float32")


def pretraining_losses() -> dict[str, keras.losses.Loss]:
    """Cross-entropies whose sum is the pre-training loss, by output name.

    Each divides by the number of its elements. The masked-LM loss is the
    mean over real predictions when the weights of a batch are scaled by
    size / sum, as `kbert.data.pretraining` does; so N replicas average to
    what one device computes.
    Source: Devlin et al. 2019, arXiv:1810.04805, Appendix A.2.
    """
    return {
        name: keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="sum_over_batch_size"
        )
        for name in (features.MLM_LOGITS, features.NSP_LOGITS)
    }


def pretraining_metrics() -> dict[str, list[keras.metrics.Metric]]:
    """The accuracy of each pre-training output, by output name."""
    return {
        name: [LabelIsBest()]
        for name in (features.MLM_LOGITS, features.NSP_LOGITS)
    }
