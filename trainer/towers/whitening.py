"""Text vectors as the towers read them: what all texts share is taken away, and the rest spread evenly."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

SAMPLE = 100_000  # texts the statistics are taken from, at most
FLOOR = 1e-6  # of a direction's variance


class Whitening(tf.keras.layers.Layer):
    """A fixed linear map that gives text vectors mean 0 and the same variance along their first directions.

    Sentence encoders put all texts into a narrow cone: most of a vector is what every text has in common, and a few
    directions drown the others. Whitened (Su et al., 2021, "Whitening Sentence Representations"; for recommendation
    Zhang et al., 2024, "WhitenRec"), and cut to the directions in which the texts at hand do differ, they are quicker
    to learn from, and fewer weights have to be learnt.

    Args:
      width: of the text vectors.
      dim: most directions that are kept.
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
        """Takes the statistics from the texts of the catalogue and the train split: float [texts, width]."""
        if len(vectors) > SAMPLE:
            rows = np.random.default_rng(seed).choice(len(vectors), SAMPLE, replace=False)
            vectors = vectors[np.sort(rows)]
        sample = vectors.astype(np.float32)
        mean = sample.mean(axis=0)
        centred = sample - mean
        variances, directions = np.linalg.eigh(centred.T @ centred / max(len(sample), 1))
        variances, directions = variances[::-1][: self.dim], directions[:, ::-1][:, : self.dim]
        largest = directions[np.abs(directions).argmax(axis=0), np.arange(self.dim)]
        directions = directions * np.sign(largest)  # an eigenvector's sign is arbitrary; fixed, a seed repeats
        self.mean.assign(mean)
        self.directions.assign(directions / np.sqrt(np.maximum(variances, 0.0) + FLOOR))

    def call(self, vectors: tf.Tensor) -> tf.Tensor:
        """float32 [..., width] -> [..., dim] of variance 1; no text (zeros) stays zeros."""
        said = tf.reduce_any(vectors != 0.0, axis=-1, keepdims=True)
        return tf.where(said, tf.tensordot(vectors - self.mean, self.directions, 1), 0.0)
