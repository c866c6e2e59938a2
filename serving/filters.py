"""Search with what a request forbids, held exactly: whatever is taken out, as many as were asked for remain."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.data import UNKNOWN_ITEM
from trainer.index.base import Found, Index


def search_without(index: Index, queries: tf.Tensor, excluded: tf.Tensor, k: int | tf.Tensor) -> Found:
    """The k best items that are not excluded.

    As many more are fetched as there are exclusions, so that k remain whatever is taken out.

    Args:
      index: is asked once.
      queries: float32 [B, dim].
      excluded: integer [B, X], indices of items; 0 is none.
      k: columns of the result.

    Returns:
      scores float32 [B, k], best first, -inf where there is no item; items int32 [B, k], 0 there.
    """
    excluded = tf.sort(tf.pad(tf.cast(excluded, tf.int32), [[0, 0], [1, 0]]), axis=1)  # [B, 1 + X], the first is 0
    new = excluded[:, 1:] != excluded[:, :-1]
    count = tf.reduce_sum(tf.cast(new, tf.int32), axis=1)  # [B], distinct known items
    columns = k + tf.maximum(tf.reduce_max(count), 0)  # the maximum of an empty batch is the least integer
    scores, items = index.search(queries, columns, k + count)
    place = tf.searchsorted(excluded, items)
    place = tf.minimum(place, tf.shape(excluded)[1] - 1)
    banned = tf.gather(excluded, place, batch_dims=1) == items
    scores, place = tf.math.top_k(tf.where(banned, -np.inf, scores), k)
    items = tf.gather(items, place, batch_dims=1)
    return scores, tf.where(tf.math.is_finite(scores), items, UNKNOWN_ITEM)
