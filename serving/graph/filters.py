"""Search with what a request forbids, held exactly: whatever is taken out, as many as were asked for remain."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from serving.graph.categories import Categories
from trainer.data.tables import UNKNOWN_ITEM
from trainer.graphs import outlined_branch
from trainer.index.base import Index, SearchResult, pad_columns


def search_without(index: Index, queries: tf.Tensor, excluded: tf.Tensor, k: int | tf.Tensor) -> SearchResult:
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


def search_within(
    index: Index,
    categories: Categories,
    queries: tf.Tensor,
    excluded: tf.Tensor,
    allowed: tf.Tensor,
    k: int | tf.Tensor,
) -> SearchResult:
    """As `search_without`, with rows that allow some categories only.

    Those rows are searched exactly: nobody can say how many more the index would have to give until k of a small
    category are among them. The index is asked for the other rows alone.

    Args:
      categories: the items of each.
      allowed: int32 [B, C], as `Categories.ids` gives them; a row of -1 allows everything.
    """
    restricted = tf.reduce_any(allowed >= 0, axis=1)  # [B]
    some = tf.reduce_any(restricted)

    def others() -> tuple[tf.Tensor, tf.Tensor]:
        rows = tf.where(~restricted)[:, 0]
        return tf.gather(queries, rows), tf.gather(excluded, rows)

    other_queries, other_excluded = tf.cond(some, others, lambda: (queries, excluded))
    found = search_without(index, other_queries, other_excluded, k)

    def merged() -> SearchResult:
        rows = tf.where(restricted)[:, 0]  # [R]
        scores = tf.matmul(tf.gather(queries, rows), index.vectors, transpose_b=True)  # [R, n + 1]
        within = categories.items(tf.gather(allowed, rows))
        exact = best_without(tf.where(within, scores, -np.inf), tf.gather(excluded, rows), k)
        place = tf.math.invert_permutation(tf.cast(tf.concat([tf.where(~restricted)[:, 0], rows], axis=0), tf.int32))
        scores, items = (tf.gather(tf.concat(parts, axis=0), place) for parts in zip(found, exact, strict=True))
        return scores, items

    return tf.cond(some, outlined_branch(merged), lambda: found)


def best_without(scores: tf.Tensor, excluded: tf.Tensor, k: int | tf.Tensor) -> SearchResult:
    """The k best of all items by their scores, but for the excluded ones.

    Args:
      scores: float32 [B, n + 1], column 0 the unknown item's; -inf is never found.
      excluded: integer [B, X], indices of items; 0 is none.
      k: columns of the result; may be larger than the catalogue.

    Returns:
      As `search_without`.
    """
    excluded = tf.pad(tf.cast(excluded, tf.int32), [[0, 0], [1, 0]])  # the unknown item too
    row = tf.repeat(tf.range(tf.shape(excluded)[0]), tf.shape(excluded)[1])
    place = tf.stack([row, tf.reshape(excluded, [-1])], axis=1)  # [B * (1 + X), 2]
    scores = tf.tensor_scatter_nd_update(scores, place, tf.fill(tf.shape(row), -np.inf))
    scores, items = tf.math.top_k(scores, tf.minimum(k, tf.shape(scores)[1]))
    scores, items = pad_columns(scores, items, k)
    return scores, tf.where(tf.math.is_finite(scores), items, UNKNOWN_ITEM)
