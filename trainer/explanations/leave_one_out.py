"""Which past event speaks most for an item: leave one out, exactly."""

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

    The user is encoded again with each event left out and the others closed up: a row costs the user tower as many
    histories as it has events. Rows are done a few at a time, so that memory does not grow with the batch.

    Args:
      encode: the user tower, features of [B] requests -> float32 [B, dim].
      events: its features of events, [B, H, ...] each, padded on the right.
      request: its features of the request, [B, ...] each.
      length: int32 [B], events in a row.
      first: int32 [B], 1 where the oldest event was not read for `scores` and only fills up for another, else 0.
      vectors: float32 [B, K, dim] of the items.
      scores: float32 [B, K], their retrieval scores; -inf for none.

    Returns:
      int32 [B, K], place among the events; -1 where no event's absence lowers the score.
    """

    def of_row(row: tuple) -> tf.Tensor:
        events, request, length, first, vectors, scores = row
        count = tf.maximum(length, 1)
        left_out = tf.range(count)
        place = tf.range(tf.maximum(count - 1, 1))[tf.newaxis]
        place = tf.minimum(place + tf.cast(place >= left_out[:, tf.newaxis], tf.int32), count - 1)  # [L, L - 1]
        features = {name: tf.gather(value, place) for name, value in events.items()}  # [L, L - 1, ...]
        features |= {name: tf.repeat(value[tf.newaxis], count, axis=0) for name, value in request.items()}
        features["length"] = tf.fill([count], tf.maximum(length - 1, 0))
        lost = scores - tf.matmul(encode(features), vectors, transpose_b=True)  # [L, K]
        lost = tf.where(((left_out >= first) & (left_out < length))[:, tf.newaxis], lost, 0.0)
        heaviest = tf.argmax(lost, axis=0, output_type=tf.int32)
        return tf.where(tf.reduce_max(lost, axis=0) > 0.0, heaviest, -1)

    rows = (events, request, length, first, vectors, scores)
    return tf.map_fn(of_row, rows, fn_output_signature=tf.TensorSpec([None], tf.int32))
