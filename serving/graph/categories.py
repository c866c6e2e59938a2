"""The items of each category, for requests that allow items of some categories only."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.data.ragged import Ragged

# The characters that `str.strip` removes. Cells of the items table are stripped with it, names in requests with this.
_SPACE = r"[\x{9}-\x{D}\x{1C}-\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]+"
_SURROUNDING_SPACE = f"^{_SPACE}|{_SPACE}$"


class Categories(tf.Module):
    """The items of each category of one column of the items table.

    The names come from the served catalogue. The item tower's vocabulary cannot be used: it lacks names that are newer
    than the training data, and names that Transform leaves out.

    Args:
      names: for each item of the catalogue the list of its categories, as bytes; "" stands for no category.
    """

    def __init__(self, names: Ragged) -> None:
        super().__init__(name="categories")
        self._catalogue_size = len(names.offsets) - 1
        item = np.repeat(np.arange(1, self._catalogue_size + 1, dtype=np.int32), np.diff(names.offsets))
        present = names.values != b""
        known, category = np.unique(names.values[present], return_inverse=True)
        counts = np.bincount(category + 1, minlength=len(known) + 1)
        self._count = len(counts)
        # Category c has the items from splits[c] to splits[c + 1]. Category 0, which stands for unknown names, has no
        # items.
        ordered = item[present][np.argsort(category, kind="stable")]
        self._items = tf.Variable(ordered, trainable=False, name="items")
        splits = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._splits = tf.Variable(splits, trainable=False, name="splits")
        keys, ids = [b"", *known], np.arange(self._count, dtype=np.int32)  # TensorFlow refuses a table without keys
        self._ids = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, ids), 0)

    def ids(self, names: tf.Tensor) -> tf.Tensor:
        """Ids of categories for `items`: string [B, C] -> int32 [B, C], -1 for "", 0 for an unknown name.

        A name that consists of spaces counts as unknown, not as "": a client that sends it does not mean to allow every
        item.
        """
        return tf.where(names != "", self._ids.lookup(tf.strings.regex_replace(names, _SURROUNDING_SPACE, "")), -1)

    def items(self, ids: tf.Tensor) -> tf.Tensor:
        """Which items have one of a row's categories: int32 [R, C] -> bool [R, n + 1]; column 0 is the unknown item."""
        rows = tf.shape(ids)[0]
        row = tf.repeat(tf.range(rows), tf.shape(ids)[1])
        position = tf.stack([row, tf.maximum(tf.reshape(ids, [-1]), 0)], axis=1)
        # Counts, not 0 or 1: where a request repeats a name, `tf.scatter_nd` adds.
        named = tf.scatter_nd(position, tf.ones_like(row), [rows, self._count])
        pairs = tf.where(named > 0)  # [P, 2]: row, category
        lists = tf.RaggedTensor.from_row_splits(self._items.read_value(), self._splits.read_value(), validate=False)
        lists = tf.gather(lists, pairs[:, 1])  # [P, (items)]
        position = tf.stack([tf.gather(pairs[:, 0], lists.value_rowids()), tf.cast(lists.values, tf.int64)], axis=1)
        shape = tf.cast([rows, self._catalogue_size + 1], tf.int64)
        return tf.scatter_nd(position, tf.ones_like(lists.values), shape) > 0
