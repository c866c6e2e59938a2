"""The softmax loss over the whole catalogue, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from trainer.training.precision import FLOAT32

SMALLEST = 1e-37  # probabilities below are reported as this one; gradients are not affected
CHUNK = 4_000_000  # logits alive at once: 16 MB, which stays near the processor's caches


def full_softmax(
    queries: tf.Tensor,
    candidates: tf.Tensor,
    targets: tf.Tensor,
    temperature: float,
    weights: tf.Tensor | None = None,
    products: tf.DType = FLOAT32,
    spared: tf.Tensor | None = None,
) -> tf.Tensor:
    """Mean cross-entropy of the targets under softmax(queries · candidatesᵀ / temperature).

    Loss and gradients are computed together, a chunk of queries at a time: the [queries, candidates] logits never exist
    as a whole, and none of them is computed twice.

    Args:
      queries: float [T, dim].
      candidates: float [m, dim].
      targets: int32 [T], rows of `candidates`.
      temperature: positive.
      weights: float [m] in (0, 1], how much a candidate counts where it is not the target: the target's probability is
        exp(s_t) / (exp(s_t) + Σ w_j exp(s_j)), j ≠ t. All 1 by default.
      products: type of the matrix products, and of the logits between them.
      spared: int32 [T, S], rows of `candidates` that are not held against a query, negative for none; its target always
        counts. None at all by default.

    Returns:
      float32 scalar, 0 when there are no queries.
    """
    if weights is None:
        weights = tf.ones([tf.shape(candidates)[0]])

    @tf.custom_gradient
    def loss_of(queries: tf.Tensor, candidates: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        count, size = tf.shape(queries)[0], tf.shape(candidates)[0]
        rows = tf.clip_by_value(CHUNK // tf.maximum(size, 1), 16, tf.maximum(count, 16))
        chunks = tf.maximum((count + rows - 1) // rows, 1)
        scaled = queries / temperature
        # Log weights come in with the product, as one more dimension: to add them would be a pass over [rows, m].
        with_weight = tf.concat([candidates, tf.math.log(weights)[:, tf.newaxis]], axis=1)  # [m, dim + 1]
        with_weight, low = tf.cast(with_weight, products), tf.cast(candidates, products)
        with_one = tf.cast(tf.pad(scaled, [[0, 0], [0, 1]], constant_values=1.0), products)  # [T, dim + 1]

        def chunk(i: tf.Tensor, total: tf.Tensor, query_grads: tf.TensorArray, grads: tf.Tensor) -> tuple:
            query = scaled[i * rows : (i + 1) * rows]  # [rows, dim]
            target = targets[i * rows : (i + 1) * rows]
            logits = tf.matmul(with_one[i * rows : (i + 1) * rows], with_weight, transpose_b=True)  # [rows, m]
            if spared is not None:
                logits = _without(logits, spared[i * rows : (i + 1) * rows], target)
            weighted = tf.nn.softmax(logits)  # with the target's weight on the target too
            weight = tf.gather(weights, target)
            at_target = tf.cast(tf.gather(weighted, target, batch_dims=1), tf.float32)
            whole = at_target / weight  # the target's, were only the sum below it weighted
            others = 1.0 / (1.0 + (1.0 - weight) * whole)
            probability = whole * others  # of the target
            loss = -tf.math.log(tf.maximum(probability, SMALLEST))
            # The gradient of the logits, p - onehot(target), is never made: p and the targets' rows go their own ways
            # through the products, which spares several passes over [rows, m].
            at_target = (probability - 1.0 - at_target * others)[:, tf.newaxis]
            others = others[:, tf.newaxis]
            query_grad = tf.cast(tf.matmul(weighted, low), tf.float32) * others
            query_grad += at_target * tf.gather(candidates, target)
            query_low = tf.cast(query * others, products)
            grads += tf.cast(tf.matmul(weighted, query_low, transpose_a=True), tf.float32)
            grads += tf.math.unsorted_segment_sum(query * at_target, target, size)
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


def _without(logits: tf.Tensor, spared: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Logits [rows, m], -inf at the columns `spared` [rows, S], but not at negative ones or the row's target."""
    place = tf.where((spared >= 0) & (spared != targets[:, tf.newaxis]))  # [pairs, 2]
    pairs = tf.stack([tf.cast(place[:, 0], tf.int32), tf.gather_nd(spared, place)], axis=1)
    nothing = tf.fill([tf.shape(pairs)[0]], tf.constant(-float("inf"), logits.dtype))
    return tf.tensor_scatter_nd_update(logits, pairs, nothing)
