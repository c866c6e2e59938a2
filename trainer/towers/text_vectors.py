"""Text vectors as the towers read them, by row."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.data.tables import TextVectors
from trainer.text.fine_tuning.vectors import CurrentTextVectors


def texts_tensor(texts: TextVectors | CurrentTextVectors) -> tf.Tensor | CurrentTextVectors:
    """The text vectors as a tensor in the host's memory, at least one row long so that row 0 can be gathered.

    Vectors that change in training are returned as they are.
    """
    if isinstance(texts, CurrentTextVectors):
        return texts
    vectors = texts.vectors
    if len(vectors) == 0:
        vectors = np.zeros([1, texts.width], np.float16)
    with tf.device("/CPU:0"):
        return tf.convert_to_tensor(vectors)


def gather_texts(vectors: tf.Tensor | CurrentTextVectors, rows: tf.Tensor) -> tf.Tensor:
    """Rows of the text vectors as float32, zeros where the row is NO_TEXT: [...] -> [..., width]."""
    if isinstance(vectors, CurrentTextVectors):
        return vectors.gather(rows)
    gathered = tf.gather(vectors, tf.maximum(rows, 0))
    return tf.cast(tf.where((rows >= 0)[..., tf.newaxis], gathered, tf.zeros([], gathered.dtype)), tf.float32)
