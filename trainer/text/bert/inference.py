"""BERT's inference pass."""

from __future__ import annotations

import types
from typing import NamedTuple

import tensorflow as tf

from trainer.text.quiet_keras_nlp import keras_nlp

MASKED_LOGIT = -1e9


class _LayerWeights(NamedTuple):
    """Weights of one transformer layer, as tensors or variables."""

    qkv_kernel: tf.Tensor  # [width, 3 width]: query, key and value
    qkv_bias: tf.Tensor
    attention_kernel: tf.Tensor  # [width, width]: the output of attention
    attention_bias: tf.Tensor
    attention_gamma: tf.Tensor
    attention_beta: tf.Tensor
    inner_kernel: tf.Tensor  # [width, inner width]
    inner_bias: tf.Tensor
    output_kernel: tf.Tensor  # [inner width, width]
    output_bias: tf.Tensor
    output_gamma: tf.Tensor
    output_beta: tf.Tensor


class BertInference(tf.Module):
    """Computes the same as a KerasNLP BERT, faster, from a copy of its weights. For inference only.

    Query, key and value are computed by one matrix product. Each product is directly followed by its bias and its
    activation, so that TensorFlow can fuse the three into one kernel. Residuals, normalisation and softmax are always
    float32, because their rounding errors would add up from layer to layer.

    Args:
      backbone: the model. Its weights are copied now, and again by `update_from_backbone`.
      products: type of the matrix products.
    """

    def __init__(self, backbone: keras_nlp.models.BertBackbone, products: tf.DType) -> None:
        super().__init__(name="bert")
        self._products = products
        self._heads: int = backbone.num_heads
        self._activations = [layer._feedforward_intermediate_dense.activation for layer in backbone.transformer_layers]
        self._epsilon: float = backbone.embeddings_layer_norm.epsilon
        # A namespace hides the backbone from saving, which visits every Keras model that is an attribute of a module.
        self._source = types.SimpleNamespace(backbone=backbone)
        embeddings, layers = self._read_weights()
        self._embeddings = [tf.Variable(value, trainable=False) for value in embeddings]
        self._layers = [[tf.Variable(value, trainable=False) for value in layer] for layer in layers]

    def update_from_backbone(self) -> None:
        """Copies the backbone's current weights."""
        embeddings, layers = self._read_weights()
        for variables, values in zip([self._embeddings, *self._layers], [embeddings, *layers], strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def __call__(self, token_ids: tf.Tensor, padding_mask: tf.Tensor) -> tf.Tensor:
        """States of the last layer for sequences of one segment.

        Args:
          token_ids: int32 [B, T], padded on the right.
          padding_mask: int32 [B, T], 0 at padding.

        Returns:
          float32 [B, T, width].
        """
        tokens, positions, gamma, beta = self._embeddings
        shape = tf.shape(token_ids)
        width = tokens.shape[1]
        x = tf.gather(tokens, token_ids) + positions[: shape[1]]
        x = self._layer_norm(tf.reshape(x, [-1, width]), gamma, beta)  # [B T, width]
        mask_bias = tf.where(padding_mask > 0, 0.0, MASKED_LOGIT)[:, tf.newaxis, tf.newaxis]  # [B, 1, 1, T]
        for variables, activation in zip(self._layers, self._activations, strict=True):
            layer = _LayerWeights(*variables)
            attention = self._attend(self._linear(x, layer.qkv_kernel, layer.qkv_bias), shape, mask_bias)
            attention = self._linear(attention, layer.attention_kernel, layer.attention_bias)
            x = self._layer_norm(x + tf.cast(attention, x.dtype), layer.attention_gamma, layer.attention_beta)
            inner = activation(self._linear(x, layer.inner_kernel, layer.inner_bias))
            output = self._linear(inner, layer.output_kernel, layer.output_bias)
            x = self._layer_norm(x + tf.cast(output, x.dtype), layer.output_gamma, layer.output_beta)
        return tf.reshape(x, [shape[0], shape[1], width])

    def _attend(self, qkv: tf.Tensor, shape: tf.Tensor, mask_bias: tf.Tensor) -> tf.Tensor:
        """Multi-head attention before its output layer: queries, keys and values [B T, 3 width] -> [B T, width]."""
        width = qkv.shape[1] // 3
        size = width // self._heads
        qkv = tf.reshape(qkv, [shape[0], shape[1], 3, self._heads, size])
        query, key, value = tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4]), axis=0)  # each [B, heads, T, size]
        logits = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32) * size**-0.5
        weights = tf.cast(tf.nn.softmax(logits + mask_bias), self._products)
        attention = tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3])  # [B, T, heads, size]
        return tf.reshape(attention, [-1, width])

    def _linear(self, x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        return tf.nn.bias_add(tf.matmul(tf.cast(x, self._products), kernel), bias)

    def _layer_norm(self, x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
        centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        return centred * tf.math.rsqrt(variance + self._epsilon) * gamma + beta

    def _read_weights(self) -> tuple[list[tf.Tensor], list[_LayerWeights]]:
        """The backbone's current weights: those of the embeddings, and those of each layer."""
        backbone = self._source.backbone
        # A text is one segment, so the segment embedding is the same at all positions and is added here.
        positions = backbone.position_embedding.position_embeddings + backbone.segment_embedding.embeddings[0]
        tokens = tf.convert_to_tensor(backbone.token_embedding.embeddings)
        embeddings = [tokens, positions, *_norm_weights(backbone.embeddings_layer_norm)]
        return embeddings, [self._layer_weights(layer, backbone.hidden_dim) for layer in backbone.transformer_layers]

    def _layer_weights(self, layer: tf.keras.layers.Layer, width: int) -> _LayerWeights:
        attention = layer._self_attention_layer
        qkv = [attention._query_dense, attention._key_dense, attention._value_dense]
        qkv_kernel = tf.concat([tf.reshape(dense.kernel, [width, width]) for dense in qkv], axis=1)
        qkv_bias = tf.concat([tf.reshape(dense.bias, [width]) for dense in qkv], axis=0)
        attention_output = attention._output_dense
        inner, output = layer._feedforward_intermediate_dense, layer._feedforward_output_dense
        return _LayerWeights(
            *self._in_product_type(qkv_kernel, qkv_bias),
            *self._in_product_type(tf.reshape(attention_output.kernel, [width, width]), attention_output.bias),
            *_norm_weights(layer._self_attention_layer_norm),
            *self._in_product_type(inner.kernel, inner.bias),
            *self._in_product_type(output.kernel, output.bias),
            *_norm_weights(layer._feedforward_layer_norm),
        )

    def _in_product_type(self, kernel: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.cast(kernel, self._products), tf.cast(bias, self._products)


def _norm_weights(layer: tf.keras.layers.LayerNormalization) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.convert_to_tensor(layer.gamma), tf.convert_to_tensor(layer.beta)
