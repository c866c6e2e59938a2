"""The text encoder, as one function that all signatures share."""

from __future__ import annotations

import tensorflow as tf

from serving.graph.specs import ONE
from trainer.text.encoder import TextEncoder


class TextEncoding:
    """Encodes texts. The encoder runs only if a text is not empty."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self._function = tf.function(self._encode, input_signature=[tf.TensorSpec(ONE, tf.string)], autograph=False)

    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        """Vectors of texts, string [N] -> float32 [N, width]; zeros for an empty text."""
        return self._function(texts)

    def _encode(self, texts: tf.Tensor) -> tf.Tensor:
        width = self._encoder.width
        vectors = tf.cond(
            tf.reduce_any(texts != ""),
            lambda: self._encoder(texts),
            lambda: tf.zeros([tf.size(texts), width]),
        )
        return tf.ensure_shape(vectors, [None, width])
