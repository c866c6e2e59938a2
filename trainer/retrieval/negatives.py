"""Negatives of the sampled losses: a mix of in-batch and uniform negatives (Yang et al., 2020)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.data.tables import ItemTable
from trainer.training.randomness import RandomStream

MAX_IN_BATCH = 2048  # largest number of queries in a chunk, whose logits are then [MAX_IN_BATCH, count]


class MixedNegatives:
    """Decides how many candidates are in-batch, samples the others, and computes the sampling probabilities.

    The candidates of a chunk of K queries are the queries' own K items, whose frequencies follow the items' train
    events, and `count` - K items sampled uniformly, with replacement, from the items with train events. K is at most
    half of `count`.

    Args:
      items: the catalogue.
      count: candidates of a query, its positive included.
      stream: source of randomness.
    """

    def __init__(self, items: ItemTable, count: int, stream: RandomStream) -> None:
        self._count, self._stream, self._place = count, stream, stream.place()
        trained = np.flatnonzero(items.train_count > 0)
        popularity = np.concatenate([[0.0], items.train_count / max(items.train_count.sum(), 1)])
        self._trained_items = tf.constant((trained + 1).astype(np.int32))
        self._popularity = tf.constant(popularity.astype(np.float32))  # [n + 1]

    def queries_per_chunk(self, queries: tf.Tensor) -> tf.Tensor:
        """Number of queries in a chunk of a batch of `queries` queries: int32 scalar -> int32 scalar, at least 1."""
        max_queries = min(self._count // 2, MAX_IN_BATCH)
        chunks = tf.maximum((queries + max_queries - 1) // max_queries, 1)
        return tf.maximum((queries + chunks - 1) // chunks, 1)

    def sample(self, queries_per_chunk: tf.Tensor) -> tf.Tensor:
        """The uniform negatives of the current step: int32 [count - queries_per_chunk]."""
        rows = tf.random.stateless_uniform(
            [self._count - queries_per_chunk],
            self._stream.seed(self._place),
            0,
            tf.size(self._trained_items),
            tf.int32,
        )
        return tf.gather(self._trained_items, rows)

    def probability(self, ids: tf.Tensor, in_batch: tf.Tensor) -> tf.Tensor:
        """Sampling probability Q of candidates: int32 [C] -> float32 [C], in (0, 1]. The first `in_batch` are in-batch.

        Q(j) = share of in-batch candidates · j's share of the train events
             + share of uniform candidates / number of items with train events.
        """
        share = tf.cast(in_batch, tf.float32) / tf.cast(tf.size(ids), tf.float32)
        uniform = 1.0 / tf.cast(tf.size(self._trained_items), tf.float32)
        return share * tf.gather(self._popularity, ids) + (1.0 - share) * uniform
