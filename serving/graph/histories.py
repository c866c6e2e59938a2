"""Histories as clients send them, brought into the shape that the user tower reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Histories:
    """Left-aligned events, oldest first; W is the length of the batch's longest history, at least 1.

    Attributes:
      columns: [B, W, ...] each; what lies beyond a row's length is undefined but of a valid value.
      valid: bool [B, W].
      length: int32 [B].
    """

    columns: dict[str, tf.Tensor]
    valid: tf.Tensor
    length: tf.Tensor


def last_events(columns: Mapping[str, tf.Tensor], valid: tf.Tensor, keep: int) -> Histories:
    """The last `keep` valid events of each row. Padding may lie anywhere: left, right or between.

    Args:
      columns: [B, H, ...] each; H may be 0.
      valid: bool [B, H].
      keep: at least 1.
    """
    last = [[0, 0], [0, 1]]  # one more column, so that there is one to point at
    valid = tf.pad(valid, last)
    order = tf.argsort(tf.cast(~valid, tf.int32), axis=1, stable=True)  # events first, in their order
    count = tf.reduce_sum(tf.cast(valid, tf.int32), axis=1)  # [B]
    length = tf.minimum(count, keep)
    width = tf.maximum(tf.reduce_max(length), 1)
    place = (count - length)[:, tf.newaxis] + tf.range(width)  # [B, W]
    place = tf.gather(order, tf.minimum(place, tf.shape(order)[1] - 1), batch_dims=1)
    gathered = {}
    for name, column in columns.items():
        empty = "" if column.dtype == tf.string else tf.zeros([], column.dtype)
        padding = last + [[0, 0]] * (column.shape.rank - 2)
        gathered[name] = tf.gather(tf.pad(column, padding, constant_values=empty), place, batch_dims=1)
    return Histories(gathered, tf.range(width) < length[:, tf.newaxis], length)
