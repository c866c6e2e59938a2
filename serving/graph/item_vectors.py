"""Vectors of catalogue items and of new items, and the items with the most similar vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from serving.graph.catalogue import Catalogue
from serving.graph.filters import top_items_excluding
from serving.graph.item_inputs import ItemEncoder
from serving.graph.specs import MANY, ONE, Specs
from trainer.data.tables import UNKNOWN_ITEM
from trainer.index.base import SearchResult


class ItemVectors(tf.Module):
    """Computes vectors of items with the item tower, and finds similar items of the catalogue.

    Args:
      tower: the item tower, with its items attached.
      encoder: encodes items with this tower.
      catalogue: the items, with an index of the tower's vectors.
    """

    def __init__(self, tower: Any, encoder: ItemEncoder, catalogue: Catalogue) -> None:
        super().__init__(name="items")
        self._has_content = tower.inputs.content
        self._encoder, self._catalogue = encoder, catalogue  # `Recommender` says why the encoder is a plain object
        # The id embeddings are left out: they are as large as the index, which already holds the vectors made from
        # them.
        self._weights = [variable for variable in tower.variables if variable is not tower.id_embedding]
        self._unknown_id = tf.Variable(tower.id_embedding[:1], trainable=False, name="unknown_id")
        lengths = np.linalg.norm(catalogue.index.vectors.numpy(), axis=1)
        inverse_lengths = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        self._inverse_lengths = tf.Variable(inverse_lengths, trainable=False, name="inverse_lengths")  # [n + 1]

    def encode_specs(self) -> Specs:
        """Inputs of `encode`: `item_id` and the columns that the item tower reads, see `ItemEncoder.specs`."""
        return {"item_id": tf.TensorSpec(ONE, tf.string)} | self._encoder.specs()

    @staticmethod
    def similar_specs() -> Specs:
        """Inputs of `similar`."""
        return {"item_id": tf.TensorSpec(ONE, tf.string), "exclude_item_id": tf.TensorSpec(MANY, tf.string)}

    def encode(self, **inputs: tf.Tensor) -> tf.Tensor:
        """Vectors of items, float32 [B, dim].

        For an item of the catalogue this is its vector in the index; its other inputs are ignored. Any other item, also
        one whose `item_id` is "", is encoded from its features, with the id embedding that all new items share.
        """
        item = self._catalogue.indices(inputs.pop("item_id"))  # [B]
        vectors = self._catalogue.vectors(item)
        if not self._has_content:  # the tower reads only ids: all new items have the vector of row 0
            return vectors
        known = item != UNKNOWN_ITEM
        encoded = self._encoder.encode(inputs, ~known, self._unknown_id)
        return tf.where(known[:, tf.newaxis], vectors, encoded)

    def similar(self, item_id: tf.Tensor, exclude_item_id: tf.Tensor, k: int) -> SearchResult:
        """The k items whose vectors have the largest cosine with an item's vector; never the item itself.

        Cosines are used, because with dot products the items with the longest vectors, the popular ones, would be
        similar to every item. Each item is compared with the whole catalogue.

        Args:
          item_id: string [B]; the result is empty for an item that is not in the catalogue.
          exclude_item_id: string [B, E].
          k: columns of the result, K.

        Returns:
          cosines float32 [B, K], -inf where there is no item; items int32 [B, K], 0 where there is no item.
        """
        item = self._catalogue.indices(item_id)
        # Reads values instead of gathering from variables: see `Index.read_vectors`.
        vectors, inverse_lengths = self._catalogue.index.read_vectors(), self._inverse_lengths.read_value()
        queries = tf.gather(vectors, item) * tf.gather(inverse_lengths, item)[:, tf.newaxis]
        cosines = tf.matmul(queries, vectors, transpose_b=True) * inverse_lengths  # [B, n + 1]
        cosines = tf.where((item != UNKNOWN_ITEM)[:, tf.newaxis], cosines, -np.inf)
        excluded = tf.concat([self._catalogue.indices(exclude_item_id), item[:, tf.newaxis]], axis=1)
        return top_items_excluding(cosines, excluded, k)
