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
        self._rule = tf.train.ExponentialMovingAverage(1.0 - 1.0 / (steps + 1.0), self.updates)
        self._rule.apply(self._variables)
        self.averages = [self._rule.average(variable) for variable in self._variables]  # so that checkpoints hold them

    def update(self) -> None:
        """Takes the present weights in; to be called after each step, within its graph."""
        self.updates.assign_add(1)
        self._rule.apply(self._variables)

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
