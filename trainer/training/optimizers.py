"""Optimizers: Adam with decoupled weight decay, and a variant with a second learning rate for some variables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import tensorflow as tf

_NOT_DECAYED = ["bias", "norm"]  # variables with one of these in their name have no weight decay


class Adam(tf.keras.optimizers.Adam):
    """Adam with decoupled weight decay, except of biases and normalisation layers (Loshchilov & Hutter, 2019).

    Args:
      learning_rate: positive.
      weight_decay: 0 for none.
    """

    def __init__(self, learning_rate: float, weight_decay: float = 0.0) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay or None)
        if weight_decay:
            self.exclude_from_weight_decay(var_names=_NOT_DECAYED)


class TwoRateAdam(Adam):
    """`Adam` with a second learning rate for some variables.

    Scaling the gradients of these variables would have no effect: Adam's steps do not depend on a gradient's scale.

    Args:
      learning_rate: of all other variables.
      weight_decay: as for `Adam`.
      second_variables: the variables with the second learning rate.
      second_rate: their learning rate.
    """

    def __init__(
        self, learning_rate: float, weight_decay: float, second_variables: Iterable[tf.Variable], second_rate: float
    ) -> None:
        super().__init__(learning_rate, weight_decay)
        self._second_variables = frozenset(variable.ref() for variable in second_variables)
        self._ratio = second_rate / learning_rate
        self._factor = 1.0

    @property
    def learning_rate(self) -> tf.Variable | tf.Tensor:
        rate = super().learning_rate
        return rate if self._factor == 1.0 else rate * self._factor

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._learning_rate.assign(rate)

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        with self._rate_of(variable):
            super().update_step(gradient, variable)

    def _apply_weight_decay(self, variables: Iterable[tf.Variable]) -> None:
        for variable in variables:
            with self._rate_of(variable):
                super()._apply_weight_decay([variable])

    @contextmanager
    def _rate_of(self, variable: tf.Variable) -> Iterator[None]:
        self._factor = self._ratio if variable.ref() in self._second_variables else 1.0
        try:
            yield
        finally:
            self._factor = 1.0
