"""Diverse lists by maximal marginal relevance (Carbonell & Goldstein, 1998, "The use of MMR, diversity-based reranking
for reordering documents and producing summaries").
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from trainer.graphs import outlined_branch


def top_candidates(
    scores: tf.Tensor, vectors: Callable[[], tf.Tensor], diversity: tf.Tensor, count: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The best `count` candidates, in order: by score where `diversity` is 0, else by maximal marginal relevance.

    Args:
      scores: float32 [B, N], N >= count; -inf where there is no candidate.
      vectors: returns the candidates' vectors, float32 [B, N, dim]; called only if a row asks for diversity.
      diversity: float32 [B] in 0..1. If all are 0, this costs only one comparison.
      count: at least 1.

    Returns:
      scores float32 [B, count] and positions among the candidates, int32 [B, count].
    """

    def diverse() -> tuple[tf.Tensor, tf.Tensor]:
        # Sorted by score first, so that candidates of equal marginal relevance stay in the order of their scores.
        ordered, order = tf.math.top_k(scores, tf.shape(scores)[1])
        position = maximal_marginal_relevance(ordered, tf.gather(vectors(), order, batch_dims=1), diversity, count)
        return tf.gather(ordered, position, batch_dims=1), tf.gather(order, position, batch_dims=1)

    def undiversified() -> tuple[tf.Tensor, tf.Tensor]:
        values, positions = tf.math.top_k(scores, count)
        return values, positions

    values, positions = tf.cond(tf.reduce_any(diversity > 0.0), outlined_branch(diverse), undiversified)
    return tf.ensure_shape(values, [None, count]), tf.ensure_shape(positions, [None, count])


def maximal_marginal_relevance(scores: tf.Tensor, vectors: tf.Tensor, diversity: tf.Tensor, count: int) -> tf.Tensor:
    """Picks candidates one after the other, each time the one with the largest

        (1 - diversity) * relevance - diversity * (largest cosine with the candidates picked before).

    Scores are logits or dot products, of any scale. Relevance is a row's scores scaled to 0..1: 1 for its best
    candidate, 0 for its worst. Cosines are in -1..1, and mostly in 0..1 among the candidates of one user, so both terms
    are of similar size. The order does not change if the same number is added to all scores, or if all are multiplied
    by the same positive number.

    Args:
      scores: float32 [B, N], best first; -inf where there is no candidate. Such columns are picked last.
      vectors: float32 [B, N, dim]; need not be of unit length.
      diversity: float32 [B] in 0..1. With 0 the order stays; with 1 relevance decides only the first pick.
      count: at most N.

    Returns:
      positions int32 [B, count], all different.
    """
    present = tf.math.is_finite(scores)  # [B, N]
    lowest = tf.reduce_min(tf.where(present, scores, scores.dtype.max), axis=1, keepdims=True)
    relevance = tf.where(present, scores - lowest, 0.0)
    relevance = tf.math.divide_no_nan(relevance, tf.reduce_max(relevance, axis=1, keepdims=True))
    vectors = tf.math.l2_normalize(vectors, axis=-1)
    share = diversity[:, tf.newaxis]

    def pick(
        step: tf.Tensor, picked: tf.TensorArray, remaining: tf.Tensor, max_cosine: tf.Tensor
    ) -> tuple[tf.Tensor, tf.TensorArray, tf.Tensor, tf.Tensor]:
        gain = tf.where(present, (1.0 - share) * relevance - share * max_cosine, -2.0)  # a candidate's gain is in -1..1
        gain = tf.where(remaining, gain, -3.0)
        position = tf.argmax(gain, axis=1, output_type=tf.int32)  # [B], the first of equal ones
        vector = tf.gather(vectors, position, batch_dims=1)  # [B, dim]
        max_cosine = tf.maximum(max_cosine, tf.linalg.matvec(vectors, vector))
        remaining &= tf.range(tf.shape(scores)[1]) != position[:, tf.newaxis]
        return step + 1, picked.write(step, position), remaining, max_cosine

    max_cosine = tf.fill(tf.shape(scores), -1.0)  # no candidate is picked yet
    picked = tf.TensorArray(tf.int32, count, element_shape=[None])
    _, picked, _, _ = tf.while_loop(
        lambda step, *_: step < count, pick, [0, picked, tf.ones_like(present), max_cosine], maximum_iterations=count
    )
    return tf.transpose(picked.stack())
