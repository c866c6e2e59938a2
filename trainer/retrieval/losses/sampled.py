"""Losses over sampled candidates: in-batch and drawn ones, for catalogues that do not fit into a full softmax."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
import tensorflow_recommenders as tfrs

Task = Callable[..., tf.Tensor]
Probability = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

REMOVED = -1e30  # scores below this are tfrs's way of saying "not a candidate"


def softmax_task(temperature: float, hard_negatives: int | None = None) -> Task:
    """Cross-entropy of each query's own candidate among all of them, log-Q corrected, accidental hits removed.

    logit = score / temperature - log Q (Bengio & Senécal, 2008; for two-tower models Yi et al., 2019, "Sampling-bias-
    corrected neural modeling"). The temperature comes first: afterwards it would scale log Q as well.

    `tfrs.tasks.Retrieval` makes the logits. Its default loss is used with hard negatives only, which move the columns:
    over all candidates it reads a dense [queries, candidates] matrix of one-hot labels, in which row i always says i,
    and a step then takes 1.4 to 1.7 times as long.

    Args:
      temperature: positive.
      hard_negatives: only that many negatives count, for each query those of the highest logits; None: all.
    """
    return _task(
        temperature=temperature, num_hard_negatives=hard_negatives, loss=None if hard_negatives else _own_place
    )


def triplet_task(hard_negatives: int | None = None) -> Task:
    """The user-item-interest triplet loss, log(1 + exp(-cos(U, I) + cos(U, T))), meant over a query's negatives T.

    It compares two cosines at a time and estimates no sum over the catalogue, so that there is nothing for log Q to
    correct; neither does a temperature apply. Accidental hits are removed.

    Args:
      hard_negatives: only that many negatives count, for each query those of the highest cosines; None: all.
    """
    return _task(num_hard_negatives=hard_negatives, loss=_triplets)


def sampled_loss(
    task: Task,
    queries: tf.Tensor,
    positives: tf.Tensor,
    positive_ids: tf.Tensor,
    drawn: tf.Tensor,
    drawn_ids: tf.Tensor,
    at_once: int | tf.Tensor,
    probability: Probability | None = None,
) -> tf.Tensor:
    """Mean loss of the queries, `at_once` of them at a time: their positives and what was drawn are the candidates.

    Positives that come together are negatives of one another. Which ones do is spread over the batch, so that a user's
    own events are no more often together than any others. Loss and gradients of a chunk are computed together: no more
    than [at_once, at_once + drawn] logits are alive, however many positions a batch has.

    tfrs clips Q to [1e-6, 1]. A constant factor on Q does not change a softmax, so that Q is first divided by the
    largest one: the floor is then relative to the most popular candidate, and with a share of uniform draws nothing
    lies below it until a catalogue has millions of items.

    Args:
      task: `softmax_task` or `triplet_task`.
      queries: float [T, dim].
      positives: float [T, dim], the vector of each query's item.
      positive_ids: int32 [T].
      drawn: float [D, dim], negatives of all queries.
      drawn_ids: int32 [D].
      at_once: positive; queries of a chunk.
      probability: (int32 [C] ids, int32 scalar: how many of them are in-batch) -> float32 [C], in (0, 1]: the
        probability that one candidate is this item. None: no correction.

    Returns:
      float32 scalar, 0 when there are no queries.

    Raises:
      tf.errors.InvalidArgumentError: a probability lies outside (0, 1]; a count of events, for example.
    """
    queries, positives, drawn = (tf.convert_to_tensor(x, tf.float32) for x in (queries, positives, drawn))
    count = tf.size(positive_ids)
    chunks = tf.maximum((count + at_once - 1) // at_once, 1)

    def loss_of(query: tf.Tensor, positive: tf.Tensor, drawn: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        ids = tf.concat([ids, drawn_ids], axis=0)
        q = None if probability is None else _relative(probability(ids, tf.shape(query)[0]))
        return task(query, tf.concat([positive, drawn], axis=0), candidate_sampling_probability=q, candidate_ids=ids)

    total = _sum_of_chunks(loss_of, queries, positives, drawn, positive_ids, chunks)
    return total / tf.cast(tf.maximum(count, 1), tf.float32)


def _sum_of_chunks(
    loss_of: Callable[..., tf.Tensor],
    queries: tf.Tensor,
    positives: tf.Tensor,
    drawn: tf.Tensor,
    positive_ids: tf.Tensor,
    chunks: tf.Tensor,
) -> tf.Tensor:
    """Sum of `loss_of(queries, positives, drawn, ids)` over chunks of the first, second and fourth.

    Chunk i takes every so-manieth row, from row i on: all sequences of the batch, each a little.
    """
    count = tf.size(positive_ids)
    rows = (count + chunks - 1) // chunks
    order = tf.argsort(tf.range(count) % chunks, stable=True)
    ids_in_order = tf.gather(positive_ids, order)
    width = queries.shape[-1]

    def gradients_of_chunks() -> tf.TensorArray:
        return tf.TensorArray(tf.float32, size=chunks, infer_shape=False, element_shape=[None, width])

    @tf.custom_gradient
    def total_of(queries: tf.Tensor, positives: tf.Tensor, drawn: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        queries_in_order, positives_in_order = tf.gather(queries, order), tf.gather(positives, order)

        def chunk(
            i: tf.Tensor, total: tf.Tensor, query_grads: tf.TensorArray, positive_grads: tf.TensorArray, grad: tf.Tensor
        ) -> tuple:
            here = slice(i * rows, (i + 1) * rows)
            query, positive, ids = queries_in_order[here], positives_in_order[here], ids_in_order[here]
            with tf.GradientTape() as tape:
                tape.watch([query, positive, drawn])
                loss = loss_of(query, positive, drawn, ids)
            slopes = tape.gradient(loss, [query, positive, drawn])
            return (
                i + 1,
                total + loss,
                query_grads.write(i, slopes[0]),
                positive_grads.write(i, slopes[1]),
                grad + slopes[2],
            )

        start = (
            tf.constant(0),
            tf.constant(0.0),
            gradients_of_chunks(),
            gradients_of_chunks(),
            tf.zeros_like(drawn),
        )
        _, total, *parts, drawn_grad = tf.while_loop(lambda i, *_: i < chunks, chunk, start, parallel_iterations=1)
        back = tf.argsort(order)
        query_grad, positive_grad = (tf.gather(part.concat(), back) for part in parts)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return query_grad * upstream, positive_grad * upstream, drawn_grad * upstream

        return total, gradient

    return total_of(queries, positives, drawn)


def _relative(q: tf.Tensor) -> tf.Tensor:
    lowest, highest = tf.reduce_min(q), tf.reduce_max(q)
    message = "`probability` should give values in (0, 1], not counts"
    with tf.control_dependencies(
        [tf.debugging.assert_positive(lowest, message), tf.debugging.assert_less_equal(highest, 1.0, message)]
    ):
        return q / highest


def _task(**settings: object) -> Task:
    task = tfrs.tasks.Retrieval(remove_accidental_hits=True, **settings)

    # It is written for AutoGraph, which the training step does without (see `graphs.AnyShapeFunction`).
    call = tf.autograph.to_graph(type(task).call, recursive=False)

    def loss(queries: tf.Tensor, candidates: tf.Tensor, **more: tf.Tensor) -> tf.Tensor:
        return call(task, queries, candidates, compute_metrics=False, compute_batch_metrics=False, **more)

    return loss


def _own_place(y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: None = None) -> tf.Tensor:
    """Summed cross-entropy, the positive of query i being candidate i."""
    labels = tf.range(tf.shape(y_pred)[0])
    return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, y_pred))


def _triplets(y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: None = None) -> tf.Tensor:
    """Sum over the queries of the mean log(1 + exp(negative - positive))."""
    own = tf.reduce_sum(y_true * y_pred, axis=1, keepdims=True)  # [queries, 1]
    negative = tf.cast((y_true == 0) & (y_pred > REMOVED), tf.float32)  # [queries, candidates]
    losses = tf.reduce_sum(negative * tf.nn.softplus(y_pred - own), axis=1)
    return tf.reduce_sum(tf.math.divide_no_nan(losses, tf.reduce_sum(negative, axis=1)))
