"""Negatives of the sampled losses: the batch's own items mixed with uniform ones (Yang et al., 2020)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.data.tables import ItemTable
from trainer.training.randomness import RandomStream

MOST_IN_BATCH = 2048  # queries at once, and so a bound on the logits alive: [MOST_IN_BATCH, count]


class MixedNegatives:
    """Decides how many candidates are in-batch, draws the others, and knows with what probability.

    A chunk of K queries brings K candidates of its own, in proportion to an item's train events; the other `count` - K
    are drawn uniformly, with replacement, from the items that have train events. K is at most half of `count`.

    Args:
      items: the catalogue.
      count: candidates of a query, its own positive among them.
      stream: source of randomness.
    """

    def __init__(self, items: ItemTable, count: int, stream: RandomStream) -> None:
        self._count, self._stream, self._place = count, stream, stream.place()
        trained = np.flatnonzero(items.train_count > 0)
        popularity = np.concatenate([[0.0], items.train_count / max(items.train_count.sum(), 1)])
        self._trained = tf.constant((trained + 1).astype(np.int32))
        self._popularity = tf.constant(popularity.astype(np.float32))  # [n + 1]

    def at_once(self, queries: tf.Tensor) -> tf.Tensor:
        """How many of a batch's queries go together: int32 scalar -> int32 scalar, at least 1."""
        most = min(self._count // 2, MOST_IN_BATCH)
        chunks = tf.maximum((queries + most - 1) // most, 1)
        return tf.maximum((queries + chunks - 1) // chunks, 1)

    def draw(self, at_once: tf.Tensor) -> tf.Tensor:
        """The step's uniform candidates: int32 [count - at_once]."""
        place = tf.random.stateless_uniform(
            [self._count - at_once], self._stream.seed(self._place), 0, tf.size(self._trained), tf.int32
        )
        return tf.gather(self._trained, place)

    def probability(self, ids: tf.Tensor, in_batch: tf.Tensor) -> tf.Tensor:
        """Q of candidates, the first `in_batch` of them in-batch: int32 [C] -> float32 [C], in (0, 1].

        Q(j) = share in-batch * share of train events + share uniform / items with train events.
        """
        share = tf.cast(in_batch, tf.float32) / tf.cast(tf.size(ids), tf.float32)
        uniform = 1.0 / tf.cast(tf.size(self._trained), tf.float32)
        return share * tf.gather(self._popularity, ids) + (1.0 - share) * uniform
