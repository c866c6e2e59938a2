"""The interface of every index, and exact search, which every index can fall back on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.tables import UNKNOWN_ITEM

SearchResult = tuple[tf.Tensor, tf.Tensor]  # scores, items


class Index(tf.Module, ABC):
    """Searches the items whose vectors have the largest dot product with a query.

    Items have indices 1..n, as everywhere in this package; 0 stands for no item. The item vectors are held once, as
    `vectors`, so that an exported model can also look up the vectors of a history's items there.

    Args:
      vectors: float32 [n + 1, dim], of the item tower; row 0, the unknown item, is never in a result.
    """

    kind: str  # of the class: its name in `index.json`

    def __init__(self, vectors: np.ndarray) -> None:
        super().__init__(name="index")
        check_vectors(vectors)
        self.vectors = tf.Variable(vectors, trainable=False, name="item_vectors")
        self.size, self.dim = len(vectors) - 1, vectors.shape[1]

    def read_vectors(self) -> tf.Tensor:
        """`vectors` as a tensor [n + 1, dim], for lookups of items.

        Use it in place of `tf.gather(index.vectors, ...)`, which becomes the op ResourceGather. Once that op has read a
        variable, every other op that reads the variable copies all of it: half a millisecond a call at 20,000 items of
        64 dimensions, and more than the search itself at a million.
        """
        return self.vectors.read_value()

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """The parameters, as JSON values. Together with the vectors and the kind, they define the index."""

    @abstractmethod
    def search(self, queries: tf.Tensor, k: int | tf.Tensor, min_items: tf.Tensor | None = None) -> SearchResult:
        """The k best items of each query, best first. Builds graph ops: call it inside a `tf.function`.

        Args:
          queries: float32 [B, dim]; B may be 0.
          k: columns of the result; may be larger than the catalogue.
          min_items: int32 [B] in 0..k; None means k for every row. Row b of the result has at least
            min(min_items[b], n) items. The result of a row does not depend on the other rows of the batch.

        Returns:
          scores float32 [B, k], -inf where there is no item; items int32 [B, k], 0 there.
        """

    def save(self, directory: Path) -> None:
        """Writes the parts that would be slow to compute again into an existing directory. Vectors are not written."""

    def exact_search(self, queries: tf.Tensor, k: int | tf.Tensor) -> SearchResult:
        """As `search`, by comparing each query with every item: [B, dim] -> [B, k], [B, k]."""
        scores = tf.matmul(queries, self.vectors, transpose_b=True)[:, 1:]  # [B, n]
        scores, rows = tf.math.top_k(scores, tf.minimum(k, self.size))
        return pad_columns(scores, rows + 1, k)


def pad_columns(scores: tf.Tensor, items: tf.Tensor, k: int | tf.Tensor) -> SearchResult:
    """Cuts a result to k columns or pads it with -inf and item 0: -> [B, k], [B, k]."""
    scores, items = scores[:, :k], items[:, :k]
    missing = [[0, 0], [0, k - tf.shape(items)[1]]]
    scores = tf.pad(scores, missing, constant_values=-np.inf)
    items = tf.pad(items, missing, constant_values=UNKNOWN_ITEM)
    columns = k if isinstance(k, int) else None
    return tf.ensure_shape(scores, [None, columns]), tf.ensure_shape(items, [None, columns])


def check_vectors(vectors: np.ndarray) -> None:
    """Raises ValueError unless vectors can be searched: float32 [n + 1, dim] with n >= 1, all finite."""
    if vectors.ndim != 2 or len(vectors) < 2 or vectors.dtype != np.float32:
        raise ValueError(
            f"`vectors` should be float32 [n + 1, dim] with at least one item after row 0. "
            f"Received: {vectors.dtype} {list(vectors.shape)}"
        )
    if not np.isfinite(vectors).all():
        raise ValueError("`vectors` should be finite. Received: NaN or infinite values")
