"""Optimizers: Adam with decoupled weight decay, and with a second learning rate for some variables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import tensorflow as tf


def adam(learning_rate: float, weight_decay: float = 0.0) -> tf.keras.optimizers.Optimizer:
    """Adam, with decoupled weight decay of all but biases and normalisation (Loshchilov & Hutter, 2019)."""
    if not weight_decay:
        return tf.keras.optimizers.Adam(learning_rate)
    optimizer = tf.keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "norm"])
    return optimizer


class TwoRateAdam(tf.keras.optimizers.Adam):
    """Adam (AdamW with `weight_decay`) in which some variables learn at another pace.

    Scaling their gradients would not do it: Adam's steps do not depend on a gradient's scale.

    Args:
      learning_rate: of all other variables.
      weight_decay: decoupled, of all but biases and normalisation; 0 for none.
      others: the variables with a rate of their own.
      others_rate: that rate.
    """

    def __init__(
        self, learning_rate: float, weight_decay: float, others: Iterable[tf.Variable], others_rate: float
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay or None)
        self._others = frozenset(variable.ref() for variable in others)
        self._ratio = others_rate / learning_rate
        self._factor = 1.0
        if weight_decay:
            self.exclude_from_weight_decay(var_names=["bias", "norm"])

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
        self._factor = self._ratio if variable.ref() in self._others else 1.0
        try:
            yield
        finally:
            self._factor = 1.0
