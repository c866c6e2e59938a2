"""The inputs of the user tower other than items: one class for each kind of feature, all with the same interface."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import tensorflow as tf

from trainer.towers.clock import gap_bucket
from trainer.towers.dropout import PositionMask
from trainer.towers.whitening import Whitening

MAX_STANDARD_RATING = 4.0  # standard deviations from the mean at which a rating is clipped


class FeatureInput(Protocol):
    """One feature of an event or a request, as a vector that is added to others.

    Attributes:
      feature: key in the dictionary of features.
    """

    feature: str

    def __call__(self, values: tf.Tensor, training: bool) -> tf.Tensor:
        """Values [...] of the feature (text: [..., width]) -> float32 [..., dim]."""


class EmbeddingInput:
    """Ids of an event type, a context column or a profile column.

    Args:
      feature: key in the dictionary of features, int32 ids.
      table: float32 [ids, dim].
    """

    def __init__(self, feature: str, table: tf.Variable) -> None:
        self.feature, self._table = feature, table

    def __call__(self, values: tf.Tensor, training: bool) -> tf.Tensor:
        return tf.gather(self._table, values)


class TextInput:
    """Text vectors, whitened and projected. No text (zeros) adds nothing.

    Args:
      feature: key in the dictionary of features, float32 [..., width].
      projection: float32 [whitening.dim, dim].
      whitening: applied first.
      mask: hides texts in training; None: all are visible.
    """

    def __init__(
        self, feature: str, projection: tf.Variable, whitening: Whitening, mask: PositionMask | None = None
    ) -> None:
        self.feature, self._projection, self._whitening, self._mask = feature, projection, whitening, mask

    def __call__(self, values: tf.Tensor, training: bool) -> tf.Tensor:
        text = self._whitening(values)
        if training and self._mask is not None:
            text *= self._mask(tf.shape(text)[:-1])[..., tf.newaxis]
        return tf.tensordot(text, self._projection, 1)


class RatingInput:
    """Ratings, standardised. A missing rating (NaN) adds nothing.

    Args:
      feature: key in the dictionary of features, float32 ratings as in the data.
      coefficients: float32 [3, dim], of the rating, its square, and whether there is one.
      mean, std: of the ratings in the train split.
    """

    def __init__(self, feature: str, coefficients: tf.Variable, mean: float, std: float) -> None:
        self.feature, self._coefficients, self._mean, self._std = feature, coefficients, mean, std

    def __call__(self, values: tf.Tensor, training: bool) -> tf.Tensor:
        rated = tf.math.is_finite(values)
        rating = tf.where(rated, (values - self._mean) / self._std, 0.0)
        rating = tf.clip_by_value(rating, -MAX_STANDARD_RATING, MAX_STANDARD_RATING)
        powers = tf.stack([rating, rating**2, tf.cast(rated, tf.float32)], axis=-1)  # [..., 3]
        return tf.tensordot(powers, self._coefficients, 1)


class GapInput:
    """Seconds since the user's previous event, in logarithmic buckets.

    Args:
      feature: key in the dictionary of features, int64 [B, P] epoch seconds.
      table: float32 [GAP_BUCKETS, dim].
    """

    def __init__(self, feature: str, table: tf.Variable) -> None:
        self.feature, self._table = feature, table

    def __call__(self, values: tf.Tensor, training: bool) -> tf.Tensor:
        earlier = tf.pad(values[:, :-1], [[0, 0], [1, 0]])[:, : tf.shape(values)[1]]
        return tf.gather(self._table, gap_bucket(earlier, values))


def sum_inputs(inputs: Iterable[FeatureInput], features: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
    """The sum of all inputs' vectors, in their order: float32 [..., dim]. There should be at least one."""
    return tf.add_n([part(features[part.feature], training) for part in inputs])
