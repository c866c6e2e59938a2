"""The average of a model's weights over the last steps of its training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import tensorflow as tf


class WeightAverage(tf.Module):
    """An exponential moving average of weights (Polyak & Juditsky, 1992, in the form that forgets).

    A single step's weights lie somewhere around a good place; their average lies nearer to it. On small data that is
    worth more than most of what can be tuned, and it keeps validation figures from jumping between epochs. In the first
    steps the average forgets faster, so that it does not hold on to the initial weights.

    Args:
      variables: the weights. Their averages start at their present values.
      steps: about how many steps the average covers.
    """

    def __init__(self, variables: Sequence[tf.Variable], steps: float) -> None:
        super().__init__(name="weight_average")
        self._variables = list(variables)
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False, name="updates")
        self.averages = [tf.Variable(variable.read_value(), trainable=False) for variable in self._variables]
        self._most = 1.0 - 1.0 / (steps + 1.0)

    def update(self) -> None:
        """Takes the present weights in; to be called after each step, within its graph."""
        # tf.train.ExponentialMovingAverage does the same, but not to the variables of a mirrored strategy.
        self.updates.assign_add(1)
        done = tf.cast(self.updates, tf.float32)
        decay = tf.minimum(self._most, (1.0 + done) / (10.0 + done))
        strategy = tf.distribute.get_strategy()

        def mix(average: tf.Variable, value: tf.Tensor) -> tf.Operation:
            return average.assign(decay * average + (1.0 - decay) * value)

        for average, variable in zip(self.averages, self._variables, strict=True):
            if strategy.num_replicas_in_sync == 1:
                mix(average, variable)
            else:
                strategy.extended.update(average, mix, args=(variable,))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The weights are their averages in this block, and afterwards what they were."""
        kept = [variable.numpy() for variable in self._variables]
        self.take_over()
        try:
            yield
        finally:
            for variable, value in zip(self._variables, kept, strict=True):
                variable.assign(value)

    def take_over(self) -> None:
        """Sets the weights to their averages, for good."""
        for variable, average in zip(self._variables, self.averages, strict=True):
            variable.assign(average.read_value())
