"""The softmax loss over the whole catalogue, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

SMALLEST = 1e-37  # probabilities below are reported as this one; gradients are not affected
CHUNK = 4_000_000  # logits alive at once: 16 MB, which stays near the processor's caches


def full_softmax(queries: tf.Tensor, candidates: tf.Tensor, targets: tf.Tensor, temperature: float) -> tf.Tensor:
    """Mean cross-entropy of the targets under softmax(queries · candidatesᵀ / temperature).

    Loss and gradients are computed together, a chunk of queries at a time: the [queries, candidates] logits never exist
    as a whole, and none of them is computed twice.

    Args:
      queries: float [T, dim].
      candidates: float [m, dim].
      targets: int32 [T], rows of `candidates`.
      temperature: positive.

    Returns:
      float32 scalar, 0 when there are no queries.
    """

    @tf.custom_gradient
    def loss_of(queries: tf.Tensor, candidates: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        count, size = tf.shape(queries)[0], tf.shape(candidates)[0]
        rows = tf.clip_by_value(CHUNK // tf.maximum(size, 1), 16, tf.maximum(count, 16))
        chunks = tf.maximum((count + rows - 1) // rows, 1)
        scaled = queries / temperature

        def chunk(i: tf.Tensor, total: tf.Tensor, query_grads: tf.TensorArray, grads: tf.Tensor) -> tuple:
            query = scaled[i * rows : (i + 1) * rows]  # [rows, dim]
            target = targets[i * rows : (i + 1) * rows]
            logits = tf.matmul(query, candidates, transpose_b=True)  # [rows, m]
            # The gradient of the logits is p - onehot(target). It is never made: p and the targets' rows go their own
            # ways through the products, which spares several passes over [rows, m].
            p = tf.nn.softmax(logits)
            loss = -tf.math.log(tf.maximum(tf.gather(p, target, batch_dims=1), SMALLEST))
            query_grad = tf.matmul(p, candidates) - tf.gather(candidates, target)
            grads += tf.matmul(p, query, transpose_a=True) - tf.math.unsorted_segment_sum(query, target, size)
            return i + 1, total + tf.reduce_sum(loss), query_grads.write(i, query_grad), grads

        start = (
            tf.constant(0),
            tf.constant(0.0),
            tf.TensorArray(tf.float32, size=chunks, infer_shape=False, element_shape=[None, queries.shape[-1]]),
            tf.zeros_like(candidates),
        )
        _, total, query_grads, candidate_grad = tf.while_loop(
            lambda i, *_: i < chunks, chunk, start, parallel_iterations=1
        )
        query_grad = query_grads.concat()
        mean = 1.0 / tf.cast(tf.maximum(count, 1), tf.float32)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            factor = upstream * mean
            return query_grad * (factor / temperature), candidate_grad * factor

        return total * mean, gradient

    return loss_of(tf.cast(queries, tf.float32), tf.cast(candidates, tf.float32))
