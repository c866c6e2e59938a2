"""Finds the past event with the largest influence on an item's score, by encoding the user without each event."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

Tensors = dict[str, tf.Tensor]


def most_influential_events(
    encode: Callable[[Tensors], tf.Tensor],
    events: Tensors,
    request: Tensors,
    length: tf.Tensor,
    first: tf.Tensor,
    vectors: tf.Tensor,
    scores: tf.Tensor,
) -> tf.Tensor:
    """The event of a user's history without which an item's retrieval score is lowest.

    The user is encoded once for each event, with the history without that event. A row with L events therefore costs
    L histories in the user tower. Rows are processed a few at a time, so that memory does not grow with the batch.

    Args:
      encode: the user tower, features of [B] requests -> float32 [B, dim].
      events: the tower's features of events, [B, H, ...] each, padded on the right.
      request: the tower's features of the request, [B, ...] each.
      length: int32 [B], number of events in a row.
      first: int32 [B], 0 or 1, the first event that may be the result. 1: `scores` were computed without the oldest
        event, which only fills up the history when another event is left out.
      vectors: float32 [B, K, dim] of the items.
      scores: float32 [B, K], their retrieval scores; -inf where there is no item.

    Returns:
      int32 [B, K], position among the events; -1 if leaving out no event lowers the score.
    """

    def most_influential_of_row(row: tuple) -> tf.Tensor:
        events, request, length, first, vectors, scores = row
        count = tf.maximum(length, 1)  # L
        left_out = tf.range(count)  # [L]
        positions = tf.range(tf.maximum(count - 1, 1))[tf.newaxis]
        positions = positions + tf.cast(positions >= left_out[:, tf.newaxis], tf.int32)  # skips the event left out
        positions = tf.minimum(positions, count - 1)  # [L, L - 1]
        features = {name: tf.gather(value, positions) for name, value in events.items()}  # [L, L - 1, ...]
        features |= {name: tf.repeat(value[tf.newaxis], count, axis=0) for name, value in request.items()}
        features["length"] = tf.fill([count], tf.maximum(length - 1, 0))
        score_loss = scores - tf.matmul(encode(features), vectors, transpose_b=True)  # [L, K]
        may_be_result = (left_out >= first) & (left_out < length)  # [L]
        score_loss = tf.where(may_be_result[:, tf.newaxis], score_loss, 0.0)
        event = tf.argmax(score_loss, axis=0, output_type=tf.int32)
        return tf.where(tf.reduce_max(score_loss, axis=0) > 0.0, event, -1)

    rows = (events, request, length, first, vectors, scores)
    return tf.map_fn(most_influential_of_row, rows, fn_output_signature=tf.TensorSpec([None], tf.int32))
