# SPDX-License-Identifier: Apache-2.0
"""Makes several replicas compute the same as one device.

The optimizer and the commands' loop call this; a script with `model.fit` under
a strategy calls `vary_dropout` itself.
"""

import functools
from collections.abc import Callable

import keras
import tensorflow as tf

# An odd constant of no structure (2**32 divided by the golden ratio).
_SEED_STRIDE = 2654435769


def vary_dropout(model: keras.Model) -> None:
    """Gives each replica separate dropout masks.

    Left alone, all replicas draw the same masks, for their seed states are
    equal, and so they stay: what a checkpoint has of the first replica is
    right for all. Here the replica's number is added where a mask is drawn.
    The first replica's masks are those of one device.

    Args:
        model: not yet trained.
    """
    for generator in _seed_generators(model):
        if getattr(generator.next, "func", None) is not _own_seed:
            generator.next = functools.partial(_own_seed, generator.next)


def dropout_seeds(model: keras.Model) -> list[keras.Variable]:
    """The states from which the masks of dropout are drawn."""
    return [generator.state for generator in _seed_generators(model)]


def _seed_generators(model):
    return [
        layer.seed_generator
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.Dropout) and layer.rate
    ]


def _own_seed(draw, *args, **kwargs):
    seed = draw(*args, **kwargs)
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return seed
    index = tf.cast(context.replica_id_in_sync_group, seed.dtype)
    return seed + tf.stack([index * _SEED_STRIDE, tf.zeros_like(index)])


def parts_of(batches: tf.data.Dataset):
    """Endless global batches as the current strategy's replicas take them.

    Each replica gets an equal share of the rows, and all share them out in
    the same way, whatever the number of processes: the order of the data is
    that of one device.
    """
    strategy = tf.distribute.get_strategy()
    if not tf.distribute.has_strategy():
        return batches
    replicas = strategy.num_replicas_in_sync

    def of_process(context):
        count = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * count

        def share(*batch):
            parts = tf.nest.map_structure(lambda x: split(x, replicas), batch)
            return tf.nest.map_structure(
                lambda x: x[first : first + count], parts
            )

        # Else processes tell each other, at each step, that there is more.
        endless = tf.data.experimental.assert_cardinality(
            tf.data.experimental.INFINITE_CARDINALITY
        )
        return batches.map(share).unbatch().apply(endless).prefetch(count)

    return strategy.distribute_datasets_from_function(of_process)


def split(rows: tf.Tensor, parts: int) -> tf.Tensor:
    """(B, ...) as (parts, B / parts, ...)."""
    shape = tf.concat([[parts, -1], tf.shape(rows)[1:]], 0)
    split = tf.reshape(rows, shape)
    split.set_shape([parts, None, *rows.shape[1:]])
    return split


def several_processes() -> bool:
    """Whether the current strategy has replicas in other processes."""
    strategy = tf.distribute.get_strategy()
    return getattr(strategy, "cluster_resolver", None) is not None


def means_over_processes(*values: float) -> tuple[float, ...]:
    """The mean of each of what all processes of the strategy call this with."""
    if not several_processes():
        return values
    mean = _mean(tf.distribute.get_strategy())
    return tuple(mean(tf.constant(values, tf.float64)).numpy().tolist())


@functools.cache  # traced once
def _mean(strategy):
    @tf.function
    def mean(numbers):
        numbers = strategy.run(tf.identity, args=(numbers,))
        return strategy.reduce(tf.distribute.ReduceOp.MEAN, numbers, axis=None)

    return mean


def apply_summed(
    optimizer: keras.optimizers.Optimizer,
    apply: Callable[[list, list], None],
    gradients: list,
    variables: list,
) -> None:
    """Sums over the replicas, then accumulates, clips and updates.

    Keras clips on each replica before it sums, which makes longer steps with
    more replicas, and cannot accumulate on several replicas at all.

    Args:
        optimizer: one that does not sum any more.
        apply: Keras's own `_backend_apply_gradients`.
        gradients: of this replica, to be summed over all replicas.
        variables: they belong to.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        apply(gradients, variables)
        return
    gradients = context.all_reduce(
        tf.distribute.ReduceOp.SUM,
        [tf.convert_to_tensor(gradient) for gradient in gradients],
    )
    if not optimizer.gradient_accumulation_steps:
        apply(gradients, variables)
        return
    accumulate = functools.partial(_accumulate, optimizer, variables)
    context.merge_call(accumulate, args=(gradients,))
    if optimizer.use_ema:
        optimizer._update_model_variables_moving_average(variables)


def _accumulate(optimizer, variables, strategy, gradients):
    """Between the replicas, where a condition may hold updates in it."""
    steps = optimizer.gradient_accumulation_steps
    sums = [
        optimizer._accumulated_gradients[optimizer._get_variable_index(v)]
        for v in variables
    ]

    def update(gradients):
        pairs = zip(sums, gradients, strict=True)
        means = optimizer._clip_gradients([(s + g) / steps for s, g in pairs])
        optimizer._apply_weight_decay(variables)
        optimizer._backend_update_step(
            means, variables, optimizer.learning_rate
        )
        optimizer._backend_reset_gradient_accumulators()

    def add(gradients):
        for total, gradient in zip(sums, gradients, strict=True):
            total.assign_add(gradient)

    def run(function):
        strategy.extended.call_for_each_replica(function, args=(gradients,))
        return tf.constant(0)

    is_last = (optimizer._iterations.value + 1) % steps == 0
    tf.cond(is_last, lambda: run(update), lambda: run(add))
