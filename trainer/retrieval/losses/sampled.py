"""Losses over sampled candidates, for catalogues that are too large for a full softmax; computed in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
import tensorflow_recommenders as tfrs

Task = Callable[..., tf.Tensor]  # see `make_task`
Probability = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
ChunkLoss = Callable[[tf.Tensor, "Candidates", tf.Tensor], tf.Tensor]


class Candidates(NamedTuple):
    """Items that queries are scored against."""

    vectors: tf.Tensor  # float [C, dim]
    ids: tf.Tensor  # int32 [C]


def sampled_loss(
    task: Task,
    queries: tf.Tensor,
    positives: Candidates,
    negatives: Candidates,
    queries_per_chunk: int | tf.Tensor,
    probability: Probability | None = None,
) -> tf.Tensor:
    """Mean loss of the queries. The candidates of a query are all positives of its chunk and all negatives.

    The positives of a chunk are therefore negatives of one another. Neighbouring queries mostly come from one user, so
    they are spread over the chunks. Loss and gradients of a chunk are computed together: however many queries there
    are, at most [queries_per_chunk, queries_per_chunk + number of negatives] logits are in memory.

    TFRS clips the sampling probability Q to [1e-6, 1]. Q is divided by its largest value first, so that the lower limit
    is relative to the most popular candidate; a constant factor on Q does not change a softmax. Because some candidates
    are sampled uniformly, none has a Q below the limit unless the catalogue has millions of items.

    Args:
      task: from `sampled_softmax.softmax_task` or `triplet.triplet_task`.
      queries: float [T, dim].
      positives: the item of each query, T of them.
      negatives: negatives of all queries.
      queries_per_chunk: positive.
      probability: (ids int32 [C], number of positives int32 scalar) -> Q float32 [C] in (0, 1], the probability that a
        sampled candidate is this item. The positives come first among the ids. None: no correction.

    Returns:
      float32 scalar, 0 if there are no queries.

    Raises:
      tf.errors.InvalidArgumentError: a probability is not in (0, 1].
    """
    queries, positive_vectors, negative_vectors = (
        tf.convert_to_tensor(x, tf.float32) for x in (queries, positives.vectors, negatives.vectors)
    )
    count = tf.size(positives.ids)
    chunks = tf.maximum((count + queries_per_chunk - 1) // queries_per_chunk, 1)

    def chunk_loss(queries: tf.Tensor, positives: Candidates, negative_vectors: tf.Tensor) -> tf.Tensor:
        ids = tf.concat([positives.ids, negatives.ids], axis=0)
        vectors = tf.concat([positives.vectors, negative_vectors], axis=0)
        q = None if probability is None else _relative(probability(ids, tf.shape(queries)[0]))
        return task(queries, vectors, candidate_sampling_probability=q, candidate_ids=ids)

    total = _sum_over_chunks(chunk_loss, queries, Candidates(positive_vectors, positives.ids), negative_vectors, chunks)
    return total / tf.cast(tf.maximum(count, 1), tf.float32)


def make_task(**settings: object) -> Task:
    """`tfrs.tasks.Retrieval` without accidental hits and without metrics.

    Args:
      **settings: further arguments of the constructor of `tfrs.tasks.Retrieval`.

    Returns:
      (queries, candidates, **further arguments of the task's `call`) -> the summed loss, float32 scalar. The positive
      of query i is candidate i.
    """
    task = tfrs.tasks.Retrieval(remove_accidental_hits=True, **settings)
    # The task's `call` needs AutoGraph, and training steps are traced without it (see `graphs.AnyShapeFunction`).
    call = tf.autograph.to_graph(type(task).call, recursive=False)

    def loss(queries: tf.Tensor, candidates: tf.Tensor, **arguments: tf.Tensor) -> tf.Tensor:
        return call(task, queries, candidates, compute_metrics=False, compute_batch_metrics=False, **arguments)

    return loss


def _relative(q: tf.Tensor) -> tf.Tensor:
    """Probabilities divided by the largest one."""
    lowest, highest = tf.reduce_min(q), tf.reduce_max(q)
    message = "`probability` should give values in (0, 1], not counts"
    with tf.control_dependencies(
        [tf.debugging.assert_positive(lowest, message), tf.debugging.assert_less_equal(highest, 1.0, message)]
    ):
        return q / highest


def _sum_over_chunks(
    chunk_loss: ChunkLoss, queries: tf.Tensor, positives: Candidates, negatives: tf.Tensor, chunks: tf.Tensor
) -> tf.Tensor:
    """Sum of `chunk_loss(queries, positives, negatives)` over chunks of queries and their positives.

    With n chunks, the queries are first put into the order 0, n, 2n, …, 1, n + 1, …, and then cut into chunks.
    """
    order = tf.argsort(tf.range(tf.size(positives.ids)) % chunks, stable=True)
    ids = tf.gather(positives.ids, order)

    @tf.custom_gradient
    def total_loss(queries: tf.Tensor, positives: tf.Tensor, negatives: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        ordered = Candidates(tf.gather(positives, order), ids)
        total, *gradients = _loss_and_gradients(chunk_loss, tf.gather(queries, order), ordered, negatives, chunks)
        original_order = tf.argsort(order)
        query_grad, positive_grad = (tf.gather(gradient, original_order) for gradient in gradients[:2])
        negative_grad = gradients[2]

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return query_grad * upstream, positive_grad * upstream, negative_grad * upstream

        return total, gradient

    return total_loss(queries, positives.vectors, negatives)


def _loss_and_gradients(
    chunk_loss: ChunkLoss, queries: tf.Tensor, positives: Candidates, negatives: tf.Tensor, chunks: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Sum of the losses of contiguous chunks, and its gradients by queries, positives and negatives."""
    rows = (tf.size(positives.ids) + chunks - 1) // chunks

    def add_chunk(
        i: tf.Tensor, total: tf.Tensor, query_grads: tf.TensorArray, positive_grads: tf.TensorArray, grad: tf.Tensor
    ) -> tuple:
        chunk = slice(i * rows, (i + 1) * rows)
        query, positive = queries[chunk], positives.vectors[chunk]
        with tf.GradientTape() as tape:
            tape.watch([query, positive, negatives])
            loss = chunk_loss(query, Candidates(positive, positives.ids[chunk]), negatives)
        query_grad, positive_grad, negative_grad = tape.gradient(loss, [query, positive, negatives])
        return (
            i + 1,
            total + loss,
            query_grads.write(i, query_grad),
            positive_grads.write(i, positive_grad),
            grad + negative_grad,
        )

    def empty_gradients() -> tf.TensorArray:
        return tf.TensorArray(tf.float32, size=chunks, infer_shape=False, element_shape=[None, queries.shape[-1]])

    initial = (tf.constant(0), tf.constant(0.0), empty_gradients(), empty_gradients(), tf.zeros_like(negatives))
    _, total, query_grads, positive_grads, negative_grad = tf.while_loop(
        lambda i, *_: i < chunks, add_chunk, initial, parallel_iterations=1
    )
    return total, query_grads.concat(), positive_grads.concat(), negative_grad
