"""Which items each category has: what allow-lists are held against."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.data import ItemTable
from trainer.transform import TransformGraph


class Categories(tf.Module):
    """The items of each category of one categorical or multi-valued column of the items table.

    Args:
      items: the catalogue.
      column: the feature's name.
      transform: the items' transform graph, which knows the categories by their names.
    """

    def __init__(self, items: ItemTable, column: str, transform: TransformGraph) -> None:
        super().__init__(name="categories")
        item = np.arange(1, len(items) + 1, dtype=np.int32)
        if column in items.categorical:
            self._feature, category = f"categorical_{column}", items.categorical[column]
        else:
            lists = items.multi_valued[column]
            self._feature, category = f"multi_valued_{column}", lists.values
            item = np.repeat(item, np.diff(lists.offsets))
        present = category > 0
        category, item = category[present], item[present]
        counts = np.bincount(category, minlength=items.sizes[column])
        self._transform = transform
        self._catalogue, self._count = len(items), len(counts)
        # Category c has the items from splits[c] to splits[c + 1]; 0, which stands for none, has no items.
        self._items = tf.Variable(item[np.argsort(category, kind="stable")], trainable=False, name="items")
        splits = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._splits = tf.Variable(splits, trainable=False, name="splits")

    def ids(self, names: tf.Tensor) -> tf.Tensor:
        """Ids of categories, as `items` takes them: string [B, C] -> int32 [B, C], -1 for "", 0 for an unknown one."""
        flat = self._transform.ids({self._feature: tf.reshape(names, [-1])})[self._feature]
        return tf.where(names != "", tf.reshape(flat, tf.shape(names)), -1)

    def items(self, ids: tf.Tensor) -> tf.Tensor:
        """Which items have one of a row's categories: int32 [R, C] -> bool [R, n + 1], column 0 the unknown item."""
        rows = tf.shape(ids)[0]
        row = tf.repeat(tf.range(rows), tf.shape(ids)[1])
        place = tf.stack([row, tf.maximum(tf.reshape(ids, [-1]), 0)], axis=1)
        named = tf.scatter_nd(place, tf.ones_like(row), [rows, self._count])  # however often a request repeats a name
        pairs = tf.where(named > 0)  # [P, 2]: row, category
        lists = tf.RaggedTensor.from_row_splits(self._items.read_value(), self._splits.read_value(), validate=False)
        lists = tf.gather(lists, pairs[:, 1])  # [P, (items)]
        place = tf.stack([tf.gather(pairs[:, 0], lists.value_rowids()), tf.cast(lists.values, tf.int64)], axis=1)
        return tf.scatter_nd(place, tf.ones_like(lists.values), tf.cast([rows, self._catalogue + 1], tf.int64)) > 0
