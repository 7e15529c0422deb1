# SPDX-License-Identifier: Apache-2.0
"""The two pre-training losses and the accuracies reported with them."""

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
    best = ops.max(logits, axis=-1)
    return ops.cast(_at(logits, labels) >= best, "float32")


@keras.saving.register_keras_serializable(package="kbert")
class CrossEntropy(keras.losses.Loss):
    """Softmax cross-entropy of logits (..., V) float and labels (...) int.

    Keras's own from logits, made of fewer passes over the logits: where V is
    a whole vocabulary, those passes are a large part of a step. The softmax
    gives both the loss and its gradient.
    """

    def call(self, labels, logits):
        """The loss of each label, (...) float."""

        @ops.custom_gradient
        def loss(logits):
            weights = ops.softmax(logits)
            # The largest is 1 / sum(exp(logits - max)), and never rounds to 0
            # as the label's own may.
            log_sum = ops.max(logits, axis=-1) - ops.log(
                ops.max(weights, axis=-1)
            )

            def gradient(*args, upstream=None):
                upstream = args[0] if upstream is None else upstream
                rows = weights * ops.expand_dims(upstream, -1)
                return _subtract_at(rows, labels, upstream)

            return log_sum - _at(logits, labels), gradient

        return loss(logits)


def _at(logits, labels):
    """The logit (...) of each label (...)."""
    labels = ops.expand_dims(ops.cast(labels, "int32"), -1)
    return ops.squeeze(ops.take_along_axis(logits, labels, axis=-1), -1)


def _subtract_at(rows, labels, values):
    """`rows` (..., V) less `values` (...) at each label (...)."""
    shape = ops.shape(rows)
    rows = ops.reshape(rows, (-1, shape[-1]))
    labels = ops.reshape(ops.cast(labels, "int32"), (-1,))
    indices = ops.stack([ops.arange(ops.shape(labels)[0]), labels], axis=-1)
    rows = ops.scatter_update(
        rows, indices, -ops.reshape(values, (-1,)), reduction="add"
    )
    return ops.reshape(rows, shape)


def pretraining_losses() -> dict[str, keras.losses.Loss]:
    """Cross-entropies whose sum is the pre-training loss, by output name.

    Each divides by the number of its elements. The masked-LM loss is the
    mean over real predictions when the weights of a batch are scaled by
    size / sum, as `kbert.data.record_batches` does; so N replicas average to
    what one device computes.
    Source: Devlin et al. 2019, arXiv:1810.04805, Appendix A.2.
    """
    return {
        name: CrossEntropy(reduction="sum_over_batch_size")
        for name in (features.MLM_LOGITS, features.NSP_LOGITS)
    }


def pretraining_metrics() -> dict[str, list[keras.metrics.Metric]]:
    """The accuracy of each pre-training output, by output name."""
    return {
        name: [LabelIsBest()]
        for name in (features.MLM_LOGITS, features.NSP_LOGITS)
    }
