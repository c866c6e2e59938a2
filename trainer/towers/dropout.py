"""Dropout of single values and of whole inputs; its randomness is a function of seed and step."""

from __future__ import annotations

import math

import tensorflow as tf

from trainer.training.randomness import RandomStream

FEW_EVENTS, MANY_EVENTS = 200_000, 1_000_000  # `auto` is 0.5 up to FEW_EVENTS train events, 0.2 from MANY_EVENTS on


def dropout_rate(setting: float | str, events: int) -> float:
    """The dropout rate: the configured one, or for `auto` 0.5 on small and 0.2 on large data.

    SASRec's authors set 0.5 on their sparse data and 0.2 on MovieLens-1M (Kang & McAuley, 2018). Between FEW_EVENTS and
    MANY_EVENTS, the rate falls with the logarithm of the number of events.

    Args:
      setting: `model.dropout`.
      events: number of events in the train split.
    """
    if setting != "auto":
        return float(setting)
    share = math.log(max(events, 1) / FEW_EVENTS) / math.log(MANY_EVENTS / FEW_EVENTS)
    return 0.5 - 0.3 * min(max(share, 0.0), 1.0)


class Dropout(tf.keras.layers.Layer):
    """Dropout that draws from a `RandomStream`.

    The rate is rounded to a multiple of 1/256, so that one 32-bit random number decides four elements: on a CPU, most
    of the time that dropout takes goes into random numbers.
    """

    def __init__(self, rate: float, stream: RandomStream, name: str | None = None) -> None:
        super().__init__(name=name)
        self.rate = rate
        self._threshold = round(rate * 256)
        self._stream = stream
        self._place = stream.place()

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self._threshold == 0:
            return inputs
        count = tf.size(inputs)
        words = tf.random.stateless_uniform(
            [(count + 3) // 4], self._stream.seed(self._place), minval=None, maxval=None, dtype=tf.uint32
        )
        octets = tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:count]
        keep = tf.cast(tf.reshape(octets, tf.shape(inputs)) >= self._threshold, inputs.dtype)
        return inputs * (
            keep * (256.0 / (256 - self._threshold))
        )  # bracketed so that the gradient needs one product less


class PositionMask:
    """Hides an input at random positions in training, so that the model also works where the input is missing.

    Args:
      rate: share of the positions that are hidden.
      stream: source of randomness.
    """

    def __init__(self, rate: float, stream: RandomStream) -> None:
        self._rate, self._stream, self._place = rate, stream, stream.place()

    def __call__(self, shape: tf.Tensor) -> tf.Tensor:
        """float32 of this shape, 1 where the input is visible and 0 where it is hidden; a new mask in each step."""
        uniform = tf.random.stateless_uniform(shape, self._stream.seed(self._place))
        return tf.cast(uniform >= self._rate, tf.float32)
