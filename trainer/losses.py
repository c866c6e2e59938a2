"""Softmax losses of the retrieval model: over the whole catalogue, or over sampled candidates with log-Q correction."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

CHUNK = 4_000_000  # logits alive at once: 16 MB, which stays near the processor's caches


def full_softmax(queries: tf.Tensor, candidates: tf.Tensor, targets: tf.Tensor, temperature: float) -> tf.Tensor:
    """Mean cross-entropy of the targets under softmax(queries · candidatesᵀ / temperature).

    Loss and gradients are computed together, a chunk of queries at a time: the [queries, candidates] logits never exist
    as a whole, and none of them is computed twice.

    Args:
      queries: float32 [T, dim].
      candidates: float32 [m, dim].
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
            losses, slope = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=logits, labels=target)
            query_grads = query_grads.write(i, tf.matmul(slope, candidates))
            return i + 1, total + tf.reduce_sum(losses), query_grads, grads + tf.matmul(slope, query, transpose_a=True)

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

    return loss_of(queries, candidates)


def sampled_softmax(
    queries: tf.Tensor,
    positives: tf.Tensor,
    positive_ids: tf.Tensor,
    positive_log_q: tf.Tensor,
    candidates: tf.Tensor,
    candidate_ids: tf.Tensor,
    candidate_log_q: tf.Tensor,
    temperature: float,
) -> tf.Tensor:
    """Mean cross-entropy of each positive against shared sampled candidates, corrected for how they were sampled.

    logit = score / temperature - log Q (Bengio & Senécal, 2008; for two-tower models Yi et al., 2019, "Sampling-bias-
    corrected neural modeling"). The temperature comes first: afterwards it would scale log Q as well. Candidates that
    are the query's own positive are removed. `tfrs.tasks.Retrieval` is not used here: it takes candidate i as the
    positive of query i, and clips Q to [1e-6, 1], which levels whatever is rarer than one in a million.

    Args:
      queries: float32 [T, dim].
      positives: float32 [T, dim].
      positive_ids: int32 [T].
      positive_log_q: float32 [T], log of the probability, in (0, 1], that one draw gives this item.
      candidates: float32 [C, dim].
      candidate_ids: int32 [C].
      candidate_log_q: float32 [C].
      temperature: positive.

    Returns:
      float32 scalar.
    """
    own = tf.reduce_sum(queries * positives, axis=-1) / temperature - positive_log_q  # [T]
    others = tf.matmul(queries, candidates, transpose_b=True) / temperature - candidate_log_q  # [T, C]
    hits = positive_ids[:, tf.newaxis] == candidate_ids  # [T, C]
    others = tf.where(hits, -1e9, others)
    logits = tf.concat([own[:, tf.newaxis], others], axis=1)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.zeros_like(positive_ids), logits)
    return tf.math.divide_no_nan(tf.reduce_sum(losses), tf.cast(tf.size(losses), tf.float32))
