# SPDX-License-Identifier: Apache-2.0
"""AdamW as BERT is trained with, and its learning-rate schedule."""

import keras
from keras import ops

# Variables of these names are biases and norms: they do not decay.
_NO_DECAY = ("bias", "gamma", "beta")


@keras.saving.register_keras_serializable(package="kbert")
class LinearWarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """From 0 up to `peak` in `warmup_steps`, then down to 0 at `steps`.

    Step 0 has the rate peak / warmup_steps, as the published code has it
    at its first update; both slopes are straight.
    Raises: ValueError if the steps are not 0 <= warmup_steps < steps.
    Source: Devlin et al. 2019, arXiv:1810.04805, Appendix A.2.
    """

    def __init__(self, peak: float, warmup_steps: int, steps: int):
        if not 0 <= warmup_steps < steps:
            raise ValueError(
                f"warmup_steps is {warmup_steps}; wanted 0 or more and "
                f"fewer than the {steps} steps."
            )
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.steps = steps

    def __call__(self, step):
        done = ops.cast(step, "float32")
        up = (done + 1) / max(self.warmup_steps, 1)
        down = (self.steps - done) / (self.steps - self.warmup_steps)
        return self.peak * ops.clip(ops.minimum(up, down), 0.0, 1.0)

    def get_config(self):
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "steps": self.steps,
        }


@keras.saving.register_keras_serializable(package="kbert")
class AdamW(keras.optimizers.AdamW):
    """Adam with decoupled weight decay that leaves biases and norms out.

    Keras's AdamW but for epsilon, which is added after the bias correction
    (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1; PyTorch does so too).
    Keras adds it before: with gradients near epsilon the first steps are
    then several times smaller.
    Source: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2; the
        defaults are those of Devlin et al. 2019, Appendix A.2.
    """

    # False where the gradients given are those of all replicas already.
    sums_over_replicas = True

    def __init__(
        self,
        learning_rate,
        weight_decay=0.01,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        **kwargs,
    ):
        super().__init__(
            learning_rate,
            weight_decay=weight_decay,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            **kwargs,
        )
        self.exclude_from_weight_decay(var_names=_NO_DECAY)

    def _backend_apply_gradients(self, grads, trainable_variables):
        apply = super()._backend_apply_gradients
        if keras.config.backend() == "tensorflow" and self.sums_over_replicas:
            from kbert.training import replicas

            replicas.apply_summed(self, apply, grads, trainable_variables)
        else:
            apply(grads, trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        """Nothing: they are summed before they are clipped."""
        return grads_and_vars

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        gradient = ops.cast(gradient, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        unbias_1 = 1 - ops.power(ops.cast(self.beta_1, variable.dtype), step)
        unbias_2 = 1 - ops.power(ops.cast(self.beta_2, variable.dtype), step)
        root = ops.sqrt(unbias_2)
        rate = ops.cast(learning_rate, variable.dtype) * root / unbias_1
        self.assign_add(momentum, (gradient - momentum) * (1 - self.beta_1))
        self.assign_add(
            velocity, (ops.square(gradient) - velocity) * (1 - self.beta_2)
        )
        scale = ops.sqrt(velocity) + self.epsilon * root
        self.assign_sub(variable, momentum * rate / scale)
