"""Searches with exact filters: k items are returned whenever the catalogue has k items that a request allows."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from serving.graph.categories import Categories
from trainer.data.tables import UNKNOWN_ITEM
from trainer.graphs import outlined_branch
from trainer.index.base import Index, SearchResult, pad_columns


def search_excluding(index: Index, queries: tf.Tensor, excluded: tf.Tensor, k: int | tf.Tensor) -> SearchResult:
    """The k best items that are not excluded.

    The index is searched once, for k items plus the number of excluded items. So at least k of them are not excluded.

    Args:
      index: the index.
      queries: float32 [B, dim].
      excluded: integer [B, X], indices of items; 0 stands for no item.
      k: columns of the result.

    Returns:
      scores float32 [B, k], best first, -inf where there is no item; items int32 [B, k], 0 where there is no item.
    """
    excluded = tf.sort(tf.pad(tf.cast(excluded, tf.int32), [[0, 0], [1, 0]]), axis=1)  # [B, 1 + X], the first is 0
    distinct = excluded[:, 1:] != excluded[:, :-1]
    count = tf.reduce_sum(tf.cast(distinct, tf.int32), axis=1)  # [B], number of distinct known items
    columns = k + tf.maximum(tf.reduce_max(count), 0)  # the maximum of an empty batch is the lowest integer
    scores, items = index.search(queries, columns, k + count)
    position = tf.searchsorted(excluded, items)
    position = tf.minimum(position, tf.shape(excluded)[1] - 1)
    is_excluded = tf.gather(excluded, position, batch_dims=1) == items
    scores, position = tf.math.top_k(tf.where(is_excluded, -np.inf, scores), k)
    items = tf.gather(items, position, batch_dims=1)
    return scores, tf.where(tf.math.is_finite(scores), items, UNKNOWN_ITEM)


def search_in_categories(
    index: Index,
    categories: Categories,
    queries: tf.Tensor,
    excluded: tf.Tensor,
    allowed: tf.Tensor,
    k: int | tf.Tensor,
) -> SearchResult:
    """As `search_excluding`, but rows may allow only items of some categories.

    Such rows are compared with the whole catalogue. The index cannot be used for them: to find k items of a small
    category, it might have to return very many items, and their number is not known beforehand. The other rows are
    searched in the index.

    Args:
      categories: the items of each category.
      allowed: int32 [B, C], ids from `Categories.ids`; a row of -1 allows every item.
    """
    restricted = tf.reduce_any(allowed >= 0, axis=1)  # [B]
    any_restricted = tf.reduce_any(restricted)

    def unrestricted_rows() -> tuple[tf.Tensor, tf.Tensor]:
        rows = tf.where(~restricted)[:, 0]
        return tf.gather(queries, rows), tf.gather(excluded, rows)

    other_queries, other_excluded = tf.cond(any_restricted, unrestricted_rows, lambda: (queries, excluded))
    others = search_excluding(index, other_queries, other_excluded, k)

    def with_restricted_rows() -> SearchResult:
        rows = tf.where(restricted)[:, 0]  # [R]
        scores = tf.matmul(tf.gather(queries, rows), index.vectors, transpose_b=True)  # [R, n + 1]
        is_allowed = categories.items(tf.gather(allowed, rows))
        exact = top_items_excluding(tf.where(is_allowed, scores, -np.inf), tf.gather(excluded, rows), k)
        order = tf.math.invert_permutation(tf.cast(tf.concat([tf.where(~restricted)[:, 0], rows], axis=0), tf.int32))
        scores, items = (tf.gather(tf.concat(parts, axis=0), order) for parts in zip(others, exact, strict=True))
        return scores, items

    return tf.cond(any_restricted, outlined_branch(with_restricted_rows), lambda: others)


def top_items_excluding(scores: tf.Tensor, excluded: tf.Tensor, k: int | tf.Tensor) -> SearchResult:
    """The k items with the highest scores that are not excluded.

    Args:
      scores: float32 [B, n + 1] of all items; column 0 is the unknown item. Items with -inf are excluded too.
      excluded: integer [B, X], indices of items; 0 stands for no item.
      k: columns of the result; may be larger than the catalogue.

    Returns:
      As `search_excluding`.
    """
    excluded = tf.pad(tf.cast(excluded, tf.int32), [[0, 0], [1, 0]])  # adds 0, the unknown item
    row = tf.repeat(tf.range(tf.shape(excluded)[0]), tf.shape(excluded)[1])
    position = tf.stack([row, tf.reshape(excluded, [-1])], axis=1)  # [B * (1 + X), 2]
    scores = tf.tensor_scatter_nd_update(scores, position, tf.fill(tf.shape(row), -np.inf))
    scores, items = tf.math.top_k(scores, tf.minimum(k, tf.shape(scores)[1]))
    scores, items = pad_columns(scores, items, k)
    return scores, tf.where(tf.math.is_finite(scores), items, UNKNOWN_ITEM)
