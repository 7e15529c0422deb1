# SPDX-License-Identifier: Apache-2.0
"""AdamW's update as one TensorFlow kernel, for the commands' own loop."""

import tensorflow as tf

from kbert.training.optimizer import AdamW


class FusedAdamW(AdamW):
    """AdamW that reads and writes each variable once a step, not ten times.

    The kernel adds epsilon before the bias correction, as Keras does; scaled
    by the root of 1 - beta_2 ** t it comes to stand after it.
    """

    def update_step(self, gradient, variable, learning_rate):
        rate = self._rate(variable, learning_rate)
        gradient = tf.convert_to_tensor(gradient)
        if self._use_weight_decay(variable):
            # Not while the backward pass still holds what it read.
            with tf.control_dependencies([gradient]):
                variable.assign(variable * (1 - rate * self.weight_decay))
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations.value + 1, variable.dtype)
        beta_2_power = tf.pow(tf.cast(self.beta_2, variable.dtype), step)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, variable.dtype), step),
            beta2_power=beta_2_power,
            lr=rate,
            beta1=tf.cast(self.beta_1, variable.dtype),
            beta2=tf.cast(self.beta_2, variable.dtype),
            epsilon=self.epsilon * tf.sqrt(1 - beta_2_power),
            grad=gradient,
        )
