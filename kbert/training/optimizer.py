# SPDX-License-Identifier: Apache-2.0
"""AdamW and LAMB as BERT is trained with, and their learning-rate schedule."""

import math
import re
from collections.abc import Sequence

import keras
from keras import ops

# Variables of these names are biases and norms: they do not decay.
_NO_DECAY = ("bias", "gamma", "beta")
_BLOCK = re.compile(r"(?:^|/)block_(\d+)/")
_EMBEDDING = re.compile(r"(?:^|/)(?:token_embedding|embeddings)/")
# The share of the highest rate when a share p of the steps after the warm-up
# is done.
_DECAYS = {
    "linear": lambda p: 1 - p,
    "cosine": lambda p: (1 + ops.cos(math.pi * p)) / 2,
    "constant": ops.ones_like,
}
DECAYS = tuple(_DECAYS)


@keras.saving.register_keras_serializable(package="kbert")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """From 0 up to `peak` in `warmup_steps`, then as `decay` says to `steps`.

    Step 0 has the rate peak / warmup_steps, as the published code has it
    at its first update. "linear" goes straight down to 0 (Devlin et al.
    2019, arXiv:1810.04805, Appendix A.2), "cosine" along half a wave to 0
    (Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5, one period),
    "constant" stays up.
    Raises: ValueError if the steps are not 0 <= warmup_steps < steps, or for
        another decay.
    """

    def __init__(
        self,
        peak: float,
        warmup_steps: int,
        steps: int,
        decay: str = "linear",
    ):
        if not 0 <= warmup_steps < steps:
            raise ValueError(
                f"warmup_steps is {warmup_steps}; needs 0 or more and "
                f"fewer than the {steps} steps."
            )
        if decay not in DECAYS:
            raise ValueError(f"decay is {decay!r}; needs one of {DECAYS}.")
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.steps = steps
        self.decay = decay

    def __call__(self, step):
        done = ops.cast(step, "float32")
        up = (done + 1) / max(self.warmup_steps, 1)
        past = (done - self.warmup_steps) / (self.steps - self.warmup_steps)
        down = _DECAYS[self.decay](ops.clip(past, 0.0, 1.0))
        return self.peak * ops.minimum(up, down)

    def get_config(self):
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "steps": self.steps,
            "decay": self.decay,
        }


@keras.saving.register_keras_serializable(package="kbert")
class AdamW(keras.optimizers.AdamW):
    """Adam with decoupled weight decay that leaves biases and norms out.

    Keras's AdamW but for epsilon, which is added after the bias correction
    (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1; PyTorch does so too).
    Keras adds it before: with gradients near epsilon the first steps are
    then several times smaller.

    `layer_decay` makes the rate, decay's included, fall from the heads of a
    kbert model down: a variable `d` below them learns at the rate times
    layer_decay ** d. The last block is 1 below the heads and the pooler, the
    first as many as there are blocks, the embeddings one more.

    Raises: ValueError, when built, if `layer_decay` is not 1 and there is no
        block to count from.
    Source: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2; the
        defaults are those of Devlin et al. 2019, Appendix A.2. Layer-wise
        rates: Clark et al. 2020, arXiv:2003.10555, appendix B.
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
        layer_decay=1.0,
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
        self.layer_decay = layer_decay
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

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._depths = (0,) * len(variables)
        if self.layer_decay != 1:
            self._depths = _depths([variable.path for variable in variables])

    def update_step(self, gradient, variable, learning_rate):
        step = self._adam_step(gradient, variable)
        if self._use_weight_decay(variable):
            step = self._with_decay(step, variable)
        self.assign_sub(variable, self._rate(variable, learning_rate) * step)

    def _rate(self, variable, learning_rate):
        rate = ops.cast(learning_rate, variable.dtype)
        depth = self._depths[self._get_variable_index(variable)]
        return rate * self.layer_decay**depth if depth else rate

    def _adam_step(self, gradient, variable):
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        gradient = ops.cast(gradient, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        unbias_1 = 1 - ops.power(ops.cast(self.beta_1, variable.dtype), step)
        unbias_2 = 1 - ops.power(ops.cast(self.beta_2, variable.dtype), step)
        root = ops.sqrt(unbias_2)
        self.assign_add(momentum, (gradient - momentum) * (1 - self.beta_1))
        self.assign_add(
            velocity, (ops.square(gradient) - velocity) * (1 - self.beta_2)
        )
        scale = ops.sqrt(velocity) + self.epsilon * root
        return momentum * (root / unbias_1) / scale

    def _with_decay(self, step, variable):
        """Updates a variable with weight decay, in place of Adam's step."""
        return step + self.weight_decay * variable

    def _apply_weight_decay(self, variables):
        """Nothing: `update_step` does it, at the rate of each variable."""

    def get_config(self):
        return {**super().get_config(), "layer_decay": self.layer_decay}


@keras.saving.register_keras_serializable(package="kbert")
class Lamb(AdamW):
    """AdamW whose step in a matrix is as long as the matrix, times the rate.

    For large batches. Biases and norms, which do not decay, take Adam's step
    as it is, as in the authors' code.
    Source: You et al. 2020, arXiv:1904.00962, algorithm 2, with the
        identity for phi.
    """

    def _with_decay(self, step, variable):
        step = super()._with_decay(step, variable)
        length = ops.norm(step)
        norm = ops.norm(ops.convert_to_tensor(variable))
        # A matrix of zeros, or one that stands still, takes the plain step.
        known = ops.logical_and(norm > 0, length > 0)
        return step * ops.where(known, norm / length, 1.0)


def _depths(paths: Sequence[str]) -> tuple[int, ...]:
    """How far below the heads each variable of a kbert model is."""
    blocks = [_BLOCK.search(path) for path in paths]
    count = 1 + max((int(found[1]) for found in blocks if found), default=-1)
    if not count:
        raise ValueError(
            "layer_decay needs the variables of a model whose blocks are "
            f"named block_<number>; got {list(paths[:3])}, ..."
        )
    depths = []
    for path, block in zip(paths, blocks, strict=True):
        depth = count - int(block[1]) if block else 0
        depths.append(count + 1 if _EMBEDDING.search(path) else depth)
    return tuple(depths)
