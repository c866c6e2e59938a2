"""Repeatable random numbers: a function of seed and step."""

from __future__ import annotations

import tensorflow as tf


class RandomStream(tf.Module):
    """Random numbers as a function of (seed, step): the same step of the same run always draws the same numbers.

    This makes training repeatable without TensorFlow's slower deterministic mode, and a resumed run draws the same
    numbers as an uninterrupted one.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(name="random_stream")
        self._seed = seed
        self._uses = 0
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")

    def place(self) -> int:
        """A number for one more place in the model that draws random numbers, in the order of construction."""
        self._uses += 1
        return self._uses

    def initializer_seed(self) -> int:
        """The seed of one weight's initial value."""
        return (self._seed * 7919 + self.place()) % (2**31 - 1)

    def seed(self, place: int) -> tf.Tensor:
        """The seed, int64 [2], of a `tf.random.stateless_*` operation at this place in the current step.

        The replicas of a distributed training draw different numbers. The first replica draws the same numbers as a
        training on a single device.
        """
        key = (self._seed * 1_000_003 + place) & 0x7FFFFFFFFFFFFFFF
        replica = tf.distribute.get_replica_context()
        number = tf.cast(replica.replica_id_in_sync_group if replica else 0, tf.int64)
        return tf.stack([tf.constant(key, tf.int64), self.step.read_value() + number * 2**48])
