"""Dropout whose randomness is a function of seed and step."""

from __future__ import annotations

import math

import tensorflow as tf

from trainer.training.randomness import RandomStream

FEW_EVENTS, MANY_EVENTS = 200_000, 1_000_000


def dropout_rate(setting: float | str, events: int) -> float:
    """The configured rate; `auto`: half of everything is dropped where data is little, a fifth where it is plenty.

    SASRec's authors set 0.5 on their sparse data and 0.2 on MovieLens-1M (Kang & McAuley, 2018). In between, the rate
    falls with the logarithm of the number of events.

    Args:
      setting: `model.dropout`.
      events: of the train split.
    """
    if setting != "auto":
        return float(setting)
    share = math.log(max(events, 1) / FEW_EVENTS) / math.log(MANY_EVENTS / FEW_EVENTS)
    return 0.5 - 0.3 * min(max(share, 0.0), 1.0)


class Dropout(tf.keras.layers.Layer):
    """Dropout that draws from a `RandomStream`.

    The rate is rounded to a multiple of 1/256, so that one 32-bit random number decides four elements: drawing is what
    dropout costs on a processor.
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
        return inputs * (keep * (256.0 / (256 - self._threshold)))  # so bracketed, the gradient is one product less
