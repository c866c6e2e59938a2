"""Times in the user tower: gaps between events, and periods of the calendar."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from trainer.towers.dropout import Dropout, PositionMask

GAP_BUCKETS = 33  # 0 = unknown; bucket b begins at a gap of 2^(b-1) - 1 seconds, the last one at 68 years
MAX_PERIODS, MIN_PERIODS = 32, 8  # with fewer, a period is too long to add anything to the history
EVENTS_PER_PERIOD = 2_000  # with fewer, the embedding of a period would overfit to its own events


def gap_bucket(earlier: tf.Tensor, later: tf.Tensor) -> tf.Tensor:
    """Logarithmic bucket of the seconds between two times: int64 -> int32 in 0..GAP_BUCKETS - 1.

    A time of 0 or less is missing; the bucket is then 0. Where `earlier` is after `later`, the gap counts as 0 seconds.
    """
    seconds = tf.cast(tf.maximum(later - earlier, 0), tf.float32)
    bucket = 1 + tf.cast(tf.math.log(1.0 + seconds) / math.log(2.0), tf.int32)
    known = (earlier > 0) & (later > 0)
    return tf.where(known, tf.minimum(bucket, GAP_BUCKETS - 1), 0)


def period_ends(timestamps: np.ndarray) -> tuple[int, ...]:
    """Moments that cut the time of the train split into periods with equal numbers of events.

    Args:
      timestamps: int64 [events], epoch seconds.

    Returns:
      at most MAX_PERIODS + 1 moments, ascending; none for too few events, or if all have the same time.
    """
    known = timestamps[timestamps > 0]
    periods = min(MAX_PERIODS, len(known) // EVENTS_PER_PERIOD)
    if periods < MIN_PERIODS:
        return ()
    ends = np.unique(np.quantile(known, np.linspace(0, 1, periods + 1)).astype(np.int64))
    return tuple(int(end) for end in ends) if len(ends) > 1 else ()


def period_vectors(table: tf.Tensor, ends: Sequence[int], times: tf.Tensor) -> tf.Tensor:
    """Embeddings of times, interpolated between the rows of the moments before and after: taste changes gradually.

    Args:
      table: float32 [len(ends), dim], a row for each moment.
      ends: of `period_ends`. A time before the first counts as the first, one after the last as the last.
      times: int64 [...], epoch seconds; 0 = unknown.

    Returns:
      float32 [..., dim], zeros where the time is unknown.
    """
    moments = tf.constant(np.array(ends) - ends[0], tf.float32)
    time = tf.cast(times - ends[0], tf.float32)
    before = tf.searchsorted(moments, tf.reshape(time, [-1]), side="right") - 1
    before = tf.reshape(tf.clip_by_value(before, 0, len(ends) - 2), tf.shape(time))
    start, end = tf.gather(moments, before), tf.gather(moments, before + 1)
    share = tf.clip_by_value((time - start) / (end - start), 0.0, 1.0)[..., tf.newaxis]
    mixed = tf.gather(table, before) * (1.0 - share) + tf.gather(table, before + 1) * share
    return tf.where((times > 0)[..., tf.newaxis], mixed, 0.0)


class RequestPeriod:
    """The time of a request, as a vector that is added to the history's.

    Args:
      table: float32 [len(ends), dim], see `period_vectors`.
      ends: of `period_ends`.
      mask: hides the request's own time in training.
      dropout: of the vector.
    """

    def __init__(self, table: tf.Variable, ends: Sequence[int], mask: PositionMask, dropout: Dropout) -> None:
        self._table, self._ends, self._mask, self._dropout = table, ends, mask, dropout

    def __call__(self, request_timestamp: tf.Tensor, last_timestamp: tf.Tensor, training: bool) -> tf.Tensor:
        """int64 [...] epoch seconds of the request and, where that is 0, of the last event -> float32 [..., dim]."""
        time = request_timestamp
        if training:
            time *= tf.cast(self._mask(tf.shape(time)), time.dtype)
        time = tf.where(time > 0, time, last_timestamp)
        vectors = self._dropout(period_vectors(self._table, self._ends, time), training=training)
        # The transformer normalises the history's vector to length sqrt(dim). This vector is scaled accordingly.
        return vectors * math.sqrt(self._table.shape[-1])
