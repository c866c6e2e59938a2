"""The catalogue that is served: item ids, item indices and item vectors."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from serving.graph.specs import Tensors
from trainer.data.tables import UNKNOWN_ITEM
from trainer.index.base import Index


class Catalogue(tf.Module):
    """Maps item ids to item indices 1..n and back. Index 0 stands for an unknown item or for no item.

    Args:
      item_ids: string ids of the items 1..n.
      index: holds the item tower's vectors.

    Attributes:
      index: the index.
    """

    def __init__(self, item_ids: np.ndarray, index: Index) -> None:
        super().__init__(name="catalogue")
        if len(item_ids) != index.size:
            raise ValueError(f"`item_ids` should be the index's {index.size} items. Received: {len(item_ids)}")
        self.index = index
        ids = [item_id.encode() if isinstance(item_id, str) else item_id for item_id in item_ids]
        self._item_ids = tf.Variable([b"", *ids], trainable=False, name="item_ids")
        self._item_index = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(ids, np.arange(1, len(ids) + 1, dtype=np.int64)), UNKNOWN_ITEM
        )

    def indices(self, item_ids: tf.Tensor) -> tf.Tensor:
        """Indices of items: string [...] -> int64 [...]."""
        return self._item_index.lookup(item_ids)

    def vectors(self, items: tf.Tensor) -> tf.Tensor:
        """Vectors of items: integer [...] -> float32 [..., dim]."""
        return tf.gather(self.index.read_vectors(), items)

    def answer(self, items: tf.Tensor, **scores: tf.Tensor) -> Tensors:
        """The outputs of a signature: `item_id` [B, K] of items [B, K], and `scores` by name.

        Scores are 0 where there is no item, in place of -inf, which JSON cannot express.
        """
        scores = {name: tf.where(items != UNKNOWN_ITEM, value, 0.0) for name, value in scores.items()}
        return {"item_id": tf.gather(self._item_ids, items)} | scores
