"""Diverse lists by maximal marginal relevance (Carbonell & Goldstein, 1998, "The use of MMR, diversity-based reranking
for reordering documents and producing summaries").
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from trainer.graphs import outlined_branch


def best(
    scores: tf.Tensor, vectors: Callable[[], tf.Tensor], diversity: tf.Tensor, count: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The `count` candidates to show, in the order to show them: by their scores where `diversity` is 0.

    Args:
      scores: float32 [B, N], N >= count; -inf for a place without a candidate.
      vectors: gives the candidates' vectors, float32 [B, N, dim]; called only for the graph of what is diverse.
      diversity: float32 [B] in 0..1. A batch of zeros costs no more than looking at it.
      count: at least 1.

    Returns:
      scores float32 [B, count] and places among the candidates, int32 [B, count].
    """

    def diverse() -> tuple[tf.Tensor, tf.Tensor]:
        # By score first, so that what ties in the sum of two numbers keeps the order of one.
        ordered, order = tf.math.top_k(scores, tf.shape(scores)[1])
        place = maximal_marginal_relevance(ordered, tf.gather(vectors(), order, batch_dims=1), diversity, count)
        return tf.gather(ordered, place, batch_dims=1), tf.gather(order, place, batch_dims=1)

    def undiversified() -> tuple[tf.Tensor, tf.Tensor]:
        values, places = tf.math.top_k(scores, count)
        return values, places

    values, places = tf.cond(tf.reduce_any(diversity > 0.0), outlined_branch(diverse), undiversified)
    return tf.ensure_shape(values, [None, count]), tf.ensure_shape(places, [None, count])


def maximal_marginal_relevance(scores: tf.Tensor, vectors: tf.Tensor, diversity: tf.Tensor, count: int) -> tf.Tensor:
    """Picks one candidate after another, each time the one with the largest

        (1 - diversity) * relevance - diversity * (largest cosine with what was picked before).

    Scores are logits or dot products, of any scale. Relevance is a row's scores brought to 0..1, its best candidate 1
    and its worst 0: beside cosines of -1..1, which among the candidates of one user mostly are in 0..1 too, neither
    side drowns the other, and neither adding to scores nor multiplying them changes anything.

    Args:
      scores: float32 [B, N], best first; -inf for a place without a candidate: those are picked last.
      vectors: float32 [B, N, dim], of any length.
      diversity: float32 [B] in 0..1. With 0 the order stays, with 1 only the first pick goes by relevance.
      count: at most N.

    Returns:
      places int32 [B, count], all different.
    """
    present = tf.math.is_finite(scores)  # [B, N]
    least = tf.reduce_min(tf.where(present, scores, scores.dtype.max), axis=1, keepdims=True)
    relevance = tf.where(present, scores - least, 0.0)
    relevance = tf.math.divide_no_nan(relevance, tf.reduce_max(relevance, axis=1, keepdims=True))
    vectors = tf.math.l2_normalize(vectors, axis=-1)
    share = diversity[:, tf.newaxis]

    def pick(
        step: tf.Tensor, picked: tf.TensorArray, open_: tf.Tensor, closest: tf.Tensor
    ) -> tuple[tf.Tensor, tf.TensorArray, tf.Tensor, tf.Tensor]:
        gain = tf.where(present, (1.0 - share) * relevance - share * closest, -2.0)  # of a candidate: -1 to 1
        gain = tf.where(open_, gain, -3.0)
        place = tf.argmax(gain, axis=1, output_type=tf.int32)  # [B], the first of equals
        vector = tf.gather(vectors, place, batch_dims=1)  # [B, dim]
        closest = tf.maximum(closest, tf.linalg.matvec(vectors, vector))
        open_ &= tf.range(tf.shape(scores)[1]) != place[:, tf.newaxis]
        return step + 1, picked.write(step, place), open_, closest

    nothing = tf.fill(tf.shape(scores), -1.0)  # cosine with what was picked before, at first the same for all
    picked = tf.TensorArray(tf.int32, count, element_shape=[None])
    _, picked, _, _ = tf.while_loop(
        lambda step, *_: step < count, pick, [0, picked, tf.ones_like(present), nothing], maximum_iterations=count
    )
    return tf.transpose(picked.stack())
