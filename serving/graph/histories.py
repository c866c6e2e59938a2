"""Converts histories of requests to the form that the user tower reads: left-aligned, and only the last events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Histories:
    """Left-aligned events, oldest first; W is the length of the batch's longest history, at least 1.

    Attributes:
      columns: [B, W, ...] each. Beyond a row's length they hold arbitrary values of the input.
      valid: bool [B, W].
      length: int32 [B].
    """

    columns: dict[str, tf.Tensor]
    valid: tf.Tensor
    length: tf.Tensor


def last_events(columns: Mapping[str, tf.Tensor], valid: tf.Tensor, max_events: int) -> Histories:
    """The last valid events of each row. In the input, padding may be anywhere: left, right or between events.

    Args:
      columns: [B, H, ...] each; H may be 0.
      valid: bool [B, H].
      max_events: largest number of events of a row; at least 1.
    """
    one_more_column = [[0, 0], [0, 1]]  # so that `tf.gather` has a column to read if H is 0
    valid = tf.pad(valid, one_more_column)
    order = tf.argsort(tf.cast(~valid, tf.int32), axis=1, stable=True)  # columns of events first, in order
    count = tf.reduce_sum(tf.cast(valid, tf.int32), axis=1)  # [B]
    length = tf.minimum(count, max_events)
    width = tf.maximum(tf.reduce_max(length), 1)
    position = (count - length)[:, tf.newaxis] + tf.range(width)  # [B, W]
    position = tf.gather(order, tf.minimum(position, tf.shape(order)[1] - 1), batch_dims=1)
    gathered = {}
    for name, column in columns.items():
        empty = "" if column.dtype == tf.string else tf.zeros([], column.dtype)
        padding = one_more_column + [[0, 0]] * (column.shape.rank - 2)
        gathered[name] = tf.gather(tf.pad(column, padding, constant_values=empty), position, batch_dims=1)
    return Histories(gathered, tf.range(width) < length[:, tf.newaxis], length)
