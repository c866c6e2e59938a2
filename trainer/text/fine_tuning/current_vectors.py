"""Vectors of texts whose encoder is being trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tensorflow as tf


class CurrentTexts:
    """Vectors of all texts by row, some of them encoded anew in this very step.

    To encode every text in each step is out of the question. As with a memory of past embeddings (Wu et al., 2018; Wang
    et al., 2020, "Cross-batch memory"), the rows that a step does not encode are read as they were last encoded, and
    only those that it does encode carry a gradient.

    Args:
      vectors: [texts, width], what the encoder gives at the start.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        self.width: int = vectors.shape[1]
        with tf.device("/CPU:0"):
            self.stored = tf.Variable(vectors.astype(np.float16), trainable=False, name="text_vectors")
        self._encoded: tuple[tf.Tensor, tf.Tensor] | None = None

    @contextmanager
    def encoded(self, rows: tf.Tensor, vectors: tf.Tensor) -> Iterator[None]:
        """Within the block `gather` reads these vectors, with their gradient; after it they are what is stored.

        Args:
          rows: int32 [m], sorted and distinct; a negative one stands for none.
          vectors: float32 [m, width], m > 0.
        """
        self._encoded = rows, vectors
        try:
            yield
        finally:
            self._encoded = None  # tensors of this graph: no other may see them
        real = rows >= 0
        values = tf.cast(tf.boolean_mask(vectors, real), self.stored.dtype)
        self.stored.scatter_update(tf.IndexedSlices(values, tf.boolean_mask(rows, real)))

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """float32 [..., width] of int32 [...], zeros where the row is negative."""
        flat = tf.reshape(rows, [-1])
        found = tf.cast(tf.gather(self.stored, tf.maximum(flat, 0)), tf.float32)  # [R, width]
        found = tf.where((flat >= 0)[:, tf.newaxis], found, 0.0)
        if self._encoded is not None:
            anew, vectors = self._encoded
            place = tf.minimum(tf.searchsorted(anew, flat), tf.size(anew) - 1)
            hits = tf.where((tf.gather(anew, place) == flat) & (flat >= 0))  # [hits, 1]
            # Scattered, not selected row by row: over a whole catalogue few rows are hits.
            found = tf.tensor_scatter_nd_update(found, hits, tf.gather(vectors, tf.gather(place, hits[:, 0])))
        return tf.reshape(found, tf.concat([tf.shape(rows), [self.width]], axis=0))
