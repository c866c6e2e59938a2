"""Text vectors that change while the text encoder is fine-tuned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tensorflow as tf


class CurrentTextVectors:
    """Vectors of all texts by row: of the current step's texts with gradient, of all others from the last encoding.

    Encoding every text in every step would cost too much. As in a memory of past embeddings (Wu et al., 2018; Wang et
    al., 2020, "Cross-batch memory"), texts that the current step does not encode keep their last vector, and only texts
    that it encodes have a gradient.

    Args:
      vectors: [texts, width], of the encoder before fine-tuning.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        self.width: int = vectors.shape[1]
        with tf.device("/CPU:0"):
            self.stored = tf.Variable(vectors.astype(np.float16), trainable=False, name="text_vectors")
        self._override: tuple[tf.Tensor, tf.Tensor] | None = None

    @contextmanager
    def override(self, rows: tf.Tensor, vectors: tf.Tensor) -> Iterator[None]:
        """Within the block, `gather` reads these vectors, with gradient. At the end of the block they are stored.

        Args:
          rows: int32 [m], sorted and distinct; negative rows are ignored.
          vectors: float32 [m, width], m > 0.
        """
        self._override = rows, vectors
        try:
            yield
        finally:
            self._override = None  # these tensors belong to this graph: no other graph may read them
        valid = rows >= 0
        values = tf.cast(tf.boolean_mask(vectors, valid), self.stored.dtype)
        self.stored.scatter_update(tf.IndexedSlices(values, tf.boolean_mask(rows, valid)))

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """Vectors of rows: int32 [...] -> float32 [..., width]; zeros where the row is negative."""
        flat = tf.reshape(rows, [-1])  # [R]
        vectors = tf.cast(tf.gather(self.stored, tf.maximum(flat, 0)), tf.float32)  # [R, width]
        vectors = tf.where((flat >= 0)[:, tf.newaxis], vectors, 0.0)
        if self._override is not None:
            override_rows, override_vectors = self._override
            position = tf.minimum(tf.searchsorted(override_rows, flat), tf.size(override_rows) - 1)  # [R]
            hits = tf.where((tf.gather(override_rows, position) == flat) & (flat >= 0))  # [hits, 1]
            # A scatter writes only the hits, which are few if `rows` is the whole catalogue; `tf.where` writes all.
            hit_vectors = tf.gather(override_vectors, tf.gather(position, hits[:, 0]))
            vectors = tf.tensor_scatter_nd_update(vectors, hits, hit_vectors)
        return tf.reshape(vectors, tf.concat([tf.shape(rows), [self.width]], axis=0))
