"""The user-item-interest triplet loss."""

from __future__ import annotations

import tensorflow as tf

from trainer.retrieval.losses.sampled import Task, make_task

REMOVED = -1e30  # TFRS removes a candidate, such as an accidental hit, by giving it a score below this value


def triplet_task(hard_negatives: int | None = None) -> Task:
    """The user-item-interest triplet loss, log(1 + exp(-cos(U, I) + cos(U, T))), averaged over a query's negatives T.

    The loss compares two cosines at a time. It does not estimate a sum over the catalogue, so it needs neither a
    log-Q correction nor a temperature. Accidental hits are removed.

    Args:
      hard_negatives: number of negatives that count for a query, those with the highest cosines; None: all.
    """
    return make_task(num_hard_negatives=hard_negatives, loss=_triplet_loss)


def _triplet_loss(y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: None = None) -> tf.Tensor:
    """Sum over the queries of the mean log(1 + exp(negative - positive)).

    Args:
      y_true: float [queries, candidates], 1 for a query's positive and 0 otherwise.
      y_pred: float [queries, candidates], cosines.
      sample_weight: not used; tfrs passes it.
    """
    positive = tf.reduce_sum(y_true * y_pred, axis=1, keepdims=True)  # [queries, 1]
    is_negative = tf.cast((y_true == 0) & (y_pred > REMOVED), tf.float32)  # [queries, candidates]
    losses = tf.reduce_sum(is_negative * tf.nn.softplus(y_pred - positive), axis=1)
    return tf.reduce_sum(tf.math.divide_no_nan(losses, tf.reduce_sum(is_negative, axis=1)))
