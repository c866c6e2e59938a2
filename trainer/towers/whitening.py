"""Whitening of text vectors: subtracts their mean and gives every direction the same variance."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

MAX_SAMPLE = 100_000  # largest number of texts from which the statistics are computed
VARIANCE_FLOOR = 1e-6  # added to every variance


class Whitening(tf.keras.layers.Layer):
    """A fixed linear map that gives text vectors mean 0 and the same variance along their first directions.

    Vectors of sentence encoders lie in a narrow cone: their mean is large, and a few directions have most of the
    variance. Whitening removes both (Su et al., 2021, "Whitening Sentence Representations"; for recommendation Zhang et
    al., 2024, "WhitenRec"). Only the directions of the largest variance are kept, so that the layer behind needs fewer
    weights, which train faster.

    Args:
      width: length of the text vectors.
      dim: number of directions in the result; at most `width` are used.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__(name="whitening")
        self.dim = min(width, dim)
        self.mean = self.add_weight(name="mean", shape=[width], initializer="zeros", trainable=False)
        self.directions = self.add_weight(
            name="directions",
            shape=[width, self.dim],
            initializer=tf.keras.initializers.Identity(width**0.5),  # until `adapt`: unit vectors get variance 1
            trainable=False,
        )

    def adapt(self, vectors: np.ndarray, seed: int) -> None:
        """Computes mean and directions from the texts of the catalogue and the train split: float [texts, width]."""
        if len(vectors) > MAX_SAMPLE:
            rows = np.random.default_rng(seed).choice(len(vectors), MAX_SAMPLE, replace=False)
            vectors = vectors[np.sort(rows)]
        sample = vectors.astype(np.float32)
        mean = sample.mean(axis=0)
        centred = sample - mean
        variances, directions = np.linalg.eigh(centred.T @ centred / max(len(sample), 1))
        variances, directions = variances[::-1][: self.dim], directions[:, ::-1][:, : self.dim]
        directions = with_fixed_signs(directions)
        self.mean.assign(mean)
        self.directions.assign(directions / np.sqrt(np.maximum(variances, 0.0) + VARIANCE_FLOOR))

    def call(self, vectors: tf.Tensor) -> tf.Tensor:
        """float32 [..., width] -> [..., dim] with variance 1; no text (zeros) stays zeros."""
        has_text = tf.reduce_any(vectors != 0.0, axis=-1, keepdims=True)
        return tf.where(has_text, tf.tensordot(vectors - self.mean, self.directions, 1), 0.0)


def with_fixed_signs(directions: np.ndarray) -> np.ndarray:
    """Eigenvectors [width, dim], each with the sign that makes its largest entry positive.

    The sign of a computed eigenvector is arbitrary. A fixed one makes results repeatable.
    """
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])]
    return directions * np.sign(largest)
