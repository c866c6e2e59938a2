"""The softmax loss over the whole catalogue, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from trainer.training.precision import FLOAT32

MIN_PROBABILITY = 1e-37  # the loss clips lower probabilities of targets to this one; gradients are not clipped
MAX_LOGITS = 4_000_000  # of a chunk of more than 16 queries: 16 MB, which fits into the processor's caches


def full_softmax(
    queries: tf.Tensor,
    candidates: tf.Tensor,
    targets: tf.Tensor,
    temperature: float,
    weights: tf.Tensor | None = None,
    products: tf.DType = FLOAT32,
    excluded: tf.Tensor | None = None,
) -> tf.Tensor:
    """Mean cross-entropy of the targets under softmax(queries · candidatesᵀ / temperature).

    Loss and gradients are computed together, for one chunk of queries at a time. The [T, m] logits are therefore never
    all in memory, and no logit is computed twice.

    Args:
      queries: float [T, dim].
      candidates: float [m, dim].
      targets: int32 [T], rows of `candidates`.
      temperature: positive.
      weights: float [m] in (0, 1], the weight of a candidate where it is not the target: the target's probability is
        exp(s_t) / (exp(s_t) + Σ w_j exp(s_j)), j ≠ t. None: all are 1.
      products: type of the matrix products and of the logits.
      excluded: int32 [T, S], rows of `candidates` that are not negatives of the query; negative numbers are padding. A
        query's own target is never excluded. None: all other candidates are negatives.

    Returns:
      float32 scalar, 0 if there are no queries.
    """
    if weights is None:
        weights = tf.ones([tf.shape(candidates)[0]])

    @tf.custom_gradient
    def mean_loss(queries: tf.Tensor, candidates: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        inputs = _prepare(queries / temperature, candidates, targets, weights, products, excluded)
        total, query_grad, candidate_grad = _sum_over_chunks(inputs)
        mean = 1.0 / tf.cast(tf.maximum(tf.shape(queries)[0], 1), tf.float32)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            factor = upstream * mean
            return query_grad * (factor / temperature), candidate_grad * factor

        return total * mean, gradient

    return mean_loss(tf.cast(queries, tf.float32), tf.cast(candidates, tf.float32))


@dataclass(frozen=True)
class _Inputs:
    """Inputs of the softmax over all queries. Types are float32 unless another one is stated.

    The weighted logits s_j + log w_j are `queries_and_one` · `candidates_and_log_weight`ᵀ: the matrix product adds the
    log weights. Adding them afterwards would take one more pass over the logits.
    """

    queries: tf.Tensor  # [T, dim], divided by the temperature
    candidates: tf.Tensor  # [m, dim]
    size: tf.Tensor  # int32 scalar, m
    targets: tf.Tensor  # int32 [T]
    weights: tf.Tensor  # [m]
    excluded: tf.Tensor | None  # int32 [T, S]
    queries_and_one: tf.Tensor  # type `products`, [T, dim + 1]
    candidates_and_log_weight: tf.Tensor  # type `products`, [m, dim + 1]
    low_candidates: tf.Tensor  # `candidates` in type `products`

    def chunk(self, rows: slice) -> _Inputs:
        """The inputs of some of the queries, with all candidates."""
        return _Inputs(
            self.queries[rows],
            self.candidates,
            self.size,
            self.targets[rows],
            self.weights,
            None if self.excluded is None else self.excluded[rows],
            self.queries_and_one[rows],
            self.candidates_and_log_weight,
            self.low_candidates,
        )


@dataclass(frozen=True)
class _Probabilities:
    """Probabilities of the candidates of some queries.

    `softmax` holds w_j exp(s_j) / W with W = Σ w_j exp(s_j) over all j, so it weights the target by w_t. The target
    should have weight 1, and the denominator should be W + (1 - w_t) exp(s_t). The factor
    correction = W / (W + (1 - w_t) exp(s_t)) makes up for this: the probability of another candidate is
    softmax_j · correction, and that of the target is exp(s_t) / W · correction.
    """

    softmax: tf.Tensor  # type `products`, [rows, m]
    correction: tf.Tensor  # float32 [rows]
    target_softmax: tf.Tensor  # float32 [rows], the target's entry of `softmax`
    target: tf.Tensor  # float32 [rows], the target's probability


def _prepare(
    queries: tf.Tensor,
    candidates: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    products: tf.DType,
    excluded: tf.Tensor | None,
) -> _Inputs:
    candidates_and_log_weight = tf.concat([candidates, tf.math.log(weights)[:, tf.newaxis]], axis=1)
    queries_and_one = tf.pad(queries, [[0, 0], [0, 1]], constant_values=1.0)
    return _Inputs(
        queries,
        candidates,
        tf.shape(candidates)[0],
        targets,
        weights,
        excluded,
        tf.cast(queries_and_one, products),
        tf.cast(candidates_and_log_weight, products),
        tf.cast(candidates, products),
    )


def _sum_over_chunks(inputs: _Inputs) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """(sum of the losses, its gradient by the queries [T, dim], its gradient by the candidates [m, dim])."""
    count = tf.shape(inputs.queries)[0]
    rows = tf.clip_by_value(MAX_LOGITS // tf.maximum(inputs.size, 1), 16, tf.maximum(count, 16))
    chunks = tf.maximum((count + rows - 1) // rows, 1)

    def add_chunk(i: tf.Tensor, total: tf.Tensor, query_grads: tf.TensorArray, candidate_grad: tf.Tensor) -> tuple:
        chunk = inputs.chunk(slice(i * rows, (i + 1) * rows))
        probabilities = _probabilities(chunk)
        loss = -tf.math.log(tf.maximum(probabilities.target, MIN_PROBABILITY))
        query_grad, candidate_grad = _add_gradients(chunk, probabilities, candidate_grad)
        return i + 1, total + tf.reduce_sum(loss), query_grads.write(i, query_grad), candidate_grad

    width = inputs.queries.shape[-1]
    initial = (
        tf.constant(0),
        tf.constant(0.0),
        tf.TensorArray(tf.float32, size=chunks, infer_shape=False, element_shape=[None, width]),
        tf.zeros_like(inputs.candidates),
    )
    _, total, query_grads, candidate_grad = tf.while_loop(
        lambda i, *_: i < chunks, add_chunk, initial, parallel_iterations=1
    )
    return total, query_grads.concat(), candidate_grad


def _probabilities(chunk: _Inputs) -> _Probabilities:
    logits = tf.matmul(chunk.queries_and_one, chunk.candidates_and_log_weight, transpose_b=True)  # [rows, m]
    if chunk.excluded is not None:
        logits = _without(logits, chunk.excluded, chunk.targets)
    softmax = tf.nn.softmax(logits)
    target_weight = tf.gather(chunk.weights, chunk.targets)
    target_softmax = tf.cast(tf.gather(softmax, chunk.targets, batch_dims=1), tf.float32)
    target_unweighted = target_softmax / target_weight  # exp(s_t) / W
    correction = 1.0 / (1.0 + (1.0 - target_weight) * target_unweighted)
    return _Probabilities(softmax, correction, target_softmax, target_unweighted * correction)


def _add_gradients(
    chunk: _Inputs, probabilities: _Probabilities, candidate_grad: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Gradients of the chunk's sum of losses.

    The gradient by the logits is p - onehot(target), which equals softmax · correction in every column, plus
    `at_target` in the target's column. This [rows, m] matrix is never built, which saves several passes over it.
    Instead, the first term enters through dense matrix products, and the second one through one candidate a query.

    Returns:
      (gradient by the chunk's queries [rows, dim], `candidate_grad` plus the gradient by the candidates [m, dim]).
    """
    softmax, correction = probabilities.softmax, probabilities.correction[:, tf.newaxis]
    at_target = probabilities.target - 1.0 - probabilities.target_softmax * probabilities.correction
    at_target = at_target[:, tf.newaxis]  # [rows, 1]
    query_grad = tf.cast(tf.matmul(softmax, chunk.low_candidates), tf.float32) * correction
    query_grad += at_target * tf.gather(chunk.candidates, chunk.targets)
    low_queries = tf.cast(chunk.queries * correction, softmax.dtype)
    candidate_grad += tf.cast(tf.matmul(softmax, low_queries, transpose_a=True), tf.float32)
    candidate_grad += tf.math.unsorted_segment_sum(chunk.queries * at_target, chunk.targets, chunk.size)
    return query_grad, candidate_grad


def _without(logits: tf.Tensor, excluded: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Sets logits [rows, m] to -inf in the columns `excluded` [rows, S].

    Negative columns are padding. The column of the row's target is left as it is.
    """
    position = tf.where((excluded >= 0) & (excluded != targets[:, tf.newaxis]))  # [pairs, 2]
    pairs = tf.stack([tf.cast(position[:, 0], tf.int32), tf.gather_nd(excluded, position)], axis=1)
    no_logit = tf.fill([tf.shape(pairs)[0]], tf.constant(-float("inf"), logits.dtype))
    return tf.tensor_scatter_nd_update(logits, pairs, no_logit)
