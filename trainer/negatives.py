"""Candidates for the sampled softmax: the batch's own items mixed with uniform ones (Yang et al., 2020)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.data import ItemTable
from trainer.towers.transformer import RandomStream


class MixedNegatives:
    """Draws candidates, and knows with what probability.

    Half are drawn with replacement from the batch's targets, that is in proportion to an item's train events, and half
    uniformly from the items that have train events. Q(j) = (share of train events + 1 / trained items) / 2.

    Args:
      items: the catalogue.
      count: candidates a step.
      stream: source of randomness.
    """

    def __init__(self, items: ItemTable, count: int, stream: RandomStream) -> None:
        self._from_batch, self._uniform = count // 2, count - count // 2
        self._stream, self._batch_place, self._uniform_place = stream, stream.place(), stream.place()
        trained = np.flatnonzero(items.train_count > 0)
        popularity = items.train_count / max(items.train_count.sum(), 1)
        share = self._from_batch / count
        q = share * popularity + (1 - share) * (items.train_count > 0) / max(len(trained), 1)
        # Row 0 and items without train events are never drawn; their log Q is never read as a candidate's.
        self.log_q = tf.constant(np.log(np.maximum(np.concatenate([[0.0], q]), 1e-20)).astype(np.float32))  # [n + 1]
        self._trained = tf.constant((trained + 1).astype(np.int32))

    def draw(self, targets: tf.Tensor) -> tf.Tensor:
        """Candidates for a batch: int32 [T] its targets -> int32 [count]."""
        in_batch = tf.random.stateless_uniform(
            [self._from_batch], self._stream.seed(self._batch_place), 0, tf.size(targets), tf.int32
        )
        uniform = tf.random.stateless_uniform(
            [self._uniform], self._stream.seed(self._uniform_place), 0, tf.size(self._trained), tf.int32
        )
        return tf.concat([tf.gather(targets, in_batch), tf.gather(self._trained, uniform)], axis=0)
