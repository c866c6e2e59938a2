"""A causal transformer over a sequence of events."""

from __future__ import annotations

import math

import tensorflow as tf

from trainer.towers.dropout import Dropout
from trainer.training.precision import FLOAT32, Dense, matmul
from trainer.training.randomness import RandomStream


class CausalTransformer(tf.keras.layers.Layer):
    """Pre-LN transformer blocks under a causal mask, with learned positions.

    Positions are represented twice: by an embedding of the position in the sequence, which distinguishes a user's first
    events from later ones, and by a bias of the attention logits for each head and each distance from the position that
    predicts (Shaw et al., 2018, in the scalar form of Raffel et al., 2020). Sequences are padded on the right, so that
    the causal mask also hides the padding from every valid position.

    Args:
      dim: width.
      layers: number of blocks.
      heads: number of attention heads; `dim` should be a multiple.
      length: number of positions of the longest sequence.
      dropout: dropout rate of the attention weights, after attention, inside the feed-forward network and after it.
      stream: source of randomness.
      products: type of the matrix products.
    """

    def __init__(
        self,
        dim: int,
        layers: int,
        heads: int,
        length: int,
        dropout: float,
        stream: RandomStream,
        products: tf.DType = FLOAT32,
    ) -> None:
        super().__init__(name="causal_transformer")
        if dim % heads:
            raise ValueError(f"`dim` should be a multiple of `heads`. Received: `dim={dim}`, `heads={heads}`")
        self.length = length
        # Small beside inputs of unit variance.
        self.position = self.add_weight(
            name="position",
            shape=[length, dim],
            initializer=tf.keras.initializers.RandomNormal(0.0, 0.02 * math.sqrt(dim), stream.initializer_seed()),
        )
        self.blocks = [_Block(dim, heads, length, dropout, stream, products, f"block_{i}") for i in range(layers)]
        self.norm = tf.keras.layers.LayerNormalization(epsilon=1e-6, name="norm")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[B, P, dim] -> [B, P, dim], P at most `length`; output p depends on inputs 0..p."""
        x = inputs + self.position[: tf.shape(inputs)[1]]
        for block in self.blocks:
            x = block(x, training=training)
        return self.norm(x)


class _Block(tf.keras.layers.Layer):
    """One block: attention and a feed-forward network, each with a residual connection.

    Args: as for `CausalTransformer`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        length: int,
        dropout: float,
        stream: RandomStream,
        products: tf.DType,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self.heads, self.products = heads, products
        self.scale = 1.0 / math.sqrt(dim // heads)
        seed = stream.initializer_seed
        self.attention_norm = tf.keras.layers.LayerNormalization(epsilon=1e-6, name="attention_norm")
        self.query_key_value = Dense(
            3 * dim, products, kernel_initializer=tf.keras.initializers.GlorotUniform(seed()), name="query_key_value"
        )
        self.attention_output = Dense(
            dim, products, kernel_initializer=tf.keras.initializers.GlorotUniform(seed()), name="attention_output"
        )
        self.hidden_norm = tf.keras.layers.LayerNormalization(epsilon=1e-6, name="hidden_norm")
        self.hidden = Dense(
            4 * dim, products, kernel_initializer=tf.keras.initializers.GlorotUniform(seed()), name="hidden"
        )
        self.output_projection = Dense(
            dim, products, kernel_initializer=tf.keras.initializers.GlorotUniform(seed()), name="output_projection"
        )
        self.distance_bias = self.add_weight(
            name="distance_bias",
            shape=[length, heads],
            initializer=tf.keras.initializers.TruncatedNormal(stddev=0.02, seed=seed()),
        )
        self.weights_dropout = Dropout(dropout, stream, name="weights_dropout")
        self.attention_dropout = Dropout(dropout, stream, name="attention_dropout")
        self.hidden_dropout = Dropout(dropout, stream, name="hidden_dropout")
        self.output_dropout = Dropout(dropout, stream, name="output_dropout")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = inputs + self.attention_dropout(self._attend(self.attention_norm(inputs), training), training=training)
        hidden = tf.nn.gelu(self.hidden(self.hidden_norm(x)), approximate=True)
        hidden = self.hidden_dropout(hidden, training=training)
        return x + self.output_dropout(self.output_projection(hidden), training=training)

    def _attend(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        shape = tf.shape(x)
        batch, positions = shape[0], shape[1]
        projected = tf.reshape(self.query_key_value(x), [batch, positions, 3, self.heads, -1])
        query, key, value = tf.unstack(tf.transpose(projected, [2, 0, 3, 1, 4]), axis=0)  # each [B, heads, P, head_dim]
        logits = matmul(query * self.scale, key, self.products, transpose_b=True)  # [B, heads, P, P]
        distance = tf.range(positions)[:, tf.newaxis] - tf.range(
            positions
        )  # [P, P], predicting position - read position
        bias = tf.gather(self.distance_bias, tf.clip_by_value(distance, 0, self.distance_bias.shape[0] - 1))
        bias = tf.where(distance[:, :, tf.newaxis] >= 0, bias, -1e9)
        weights = tf.nn.softmax(logits + tf.transpose(bias, [2, 0, 1]))
        weights = self.weights_dropout(weights, training=training)
        heads = tf.transpose(matmul(weights, value, self.products), [0, 2, 1, 3])  # [B, P, heads, head_dim]
        return self.attention_output(tf.reshape(heads, [batch, positions, x.shape[-1]]))
