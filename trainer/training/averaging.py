"""The average of a model's weights over the last steps of its training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import tensorflow as tf


class WeightAverage(tf.Module):
    """An exponential moving average of weights (Polyak & Juditsky, 1992, with exponential decay).

    The weights of a single step are noisy; their average is closer to the optimum. On small data the average improves
    the model more than most hyperparameters do, and validation metrics vary less from epoch to epoch. In the first
    steps the decay is faster, so that the initial weights are soon forgotten.

    Args:
      variables: the weights. Their averages start at the current values.
      steps: about how many steps the average covers.
    """

    def __init__(self, variables: Sequence[tf.Variable], steps: float) -> None:
        super().__init__(name="weight_average")
        self._variables = list(variables)
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False, name="updates")
        self.averages = [tf.Variable(variable.read_value(), trainable=False) for variable in self._variables]
        self._max_decay = 1.0 - 1.0 / (steps + 1.0)

    def update(self) -> None:
        """Adds the current weights to the average. Call it after each step, in the step's graph."""
        # tf.train.ExponentialMovingAverage does not work with the variables of a mirrored strategy.
        self.updates.assign_add(1)
        updates = tf.cast(self.updates, tf.float32)
        decay = tf.minimum(self._max_decay, (1.0 + updates) / (10.0 + updates))
        strategy = tf.distribute.get_strategy()

        def mix(average: tf.Variable, value: tf.Tensor) -> tf.Operation:
            return average.assign(decay * average + (1.0 - decay) * value)

        for average, variable in zip(self.averages, self._variables, strict=True):
            if strategy.num_replicas_in_sync == 1:
                mix(average, variable)
            else:
                strategy.extended.update(average, mix, args=(variable,))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within this block the weights equal their averages; afterwards they have their previous values again."""
        previous = [variable.numpy() for variable in self._variables]
        self.apply()
        try:
            yield
        finally:
            for variable, value in zip(self._variables, previous, strict=True):
                variable.assign(value)

    def apply(self) -> None:
        """Sets the weights to their averages."""
        for variable, average in zip(self._variables, self.averages, strict=True):
            variable.assign(average.read_value())
