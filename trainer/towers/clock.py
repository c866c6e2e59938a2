"""How clock times enter the user tower: gaps between events, and the calendar."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

GAP_BUCKETS = 33  # 0 = not known; b = a gap of 2^(b-1) - 1 seconds or more; the last is some 68 years
PERIODS, FEWEST_PERIODS = 32, 8  # too coarse a calendar says nothing that a history does not
EVENTS_PER_PERIOD = 2_000  # fewer would let a period learn its own events by heart


def gap_bucket(earlier: tf.Tensor, later: tf.Tensor) -> tf.Tensor:
    """Logarithmic bucket of the seconds between two times: int64 -> int32 in 0..GAP_BUCKETS - 1, 0 = one is missing.

    A time of 0 or less is missing. Later than later is a gap of nothing.
    """
    seconds = tf.cast(tf.maximum(later - earlier, 0), tf.float32)
    bucket = 1 + tf.cast(tf.math.log(1.0 + seconds) / math.log(2.0), tf.int32)
    known = (earlier > 0) & (later > 0)
    return tf.where(known, tf.minimum(bucket, GAP_BUCKETS - 1), 0)


def period_ends(timestamps: np.ndarray) -> tuple[int, ...]:
    """Moments that cut the time of the train split into periods with the same number of events.

    Args:
      timestamps: int64 [events], epoch seconds.

    Returns:
      at most PERIODS + 1 moments, rising; none where the events are too few, or all at one time.
    """
    known = timestamps[timestamps > 0]
    periods = min(PERIODS, len(known) // EVENTS_PER_PERIOD)
    if periods < FEWEST_PERIODS:
        return ()
    ends = np.unique(np.quantile(known, np.linspace(0, 1, periods + 1)).astype(np.int64))
    return tuple(int(end) for end in ends) if len(ends) > 1 else ()


def at_time(table: tf.Tensor, ends: Sequence[int], times: tf.Tensor) -> tf.Tensor:
    """Rows of a table with one row for each of `ends`, interpolated between them: taste changes with time.

    Args:
      table: float32 [len(ends), dim].
      ends: of `period_ends`. A time before the first counts as the first, one after the last as the last.
      times: int64 [...], epoch seconds; 0 = not known.

    Returns:
      float32 [..., dim], zeros where the time is not known.
    """
    moments = tf.constant(np.array(ends) - ends[0], tf.float32)
    time = tf.cast(times - ends[0], tf.float32)
    before = tf.searchsorted(moments, tf.reshape(time, [-1]), side="right") - 1
    before = tf.reshape(tf.clip_by_value(before, 0, len(ends) - 2), tf.shape(time))
    start, end = tf.gather(moments, before), tf.gather(moments, before + 1)
    share = tf.clip_by_value((time - start) / (end - start), 0.0, 1.0)[..., tf.newaxis]
    mixed = tf.gather(table, before) * (1.0 - share) + tf.gather(table, before + 1) * share
    return tf.where((times > 0)[..., tf.newaxis], mixed, 0.0)
