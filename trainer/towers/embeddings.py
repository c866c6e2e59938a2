"""Embeddings in both towers: their initial values, and the length of the vectors that the towers return."""

from __future__ import annotations

import tensorflow as tf

from trainer.training.randomness import RandomStream

# Standard deviation of an embedding's initial values.
INITIAL_STDDEV = 0.02


def normal_weight(
    layer: tf.keras.layers.Layer, stream: RandomStream, name: str, shape: list[int], stddev: float = INITIAL_STDDEV
) -> tf.Variable:
    """A weight of a layer with normally distributed initial values. Checkpoints hold it under `name`."""
    initializer = tf.keras.initializers.RandomNormal(0.0, stddev, stream.initializer_seed())
    return layer.add_weight(name=name, shape=shape, initializer=initializer)


def zero_weight(layer: tf.keras.layers.Layer, name: str, shape: list[int]) -> tf.Variable:
    """A weight of a layer whose initial values are 0. Checkpoints hold it under `name`."""
    return layer.add_weight(name=name, shape=shape, initializer="zeros")


def comparable(vectors: tf.Tensor, similarity: str) -> tf.Tensor:
    """Scales a tower's vectors so that their dot product is the configured similarity: to length 1 for `cosine`."""
    return tf.math.l2_normalize(vectors, axis=-1) if similarity == "cosine" else vectors
