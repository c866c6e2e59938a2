"""The served model's answers about items alone: their vectors, and what is like them."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from serving.graph.filters import best_without
from serving.graph.item_inputs import ItemInputReader
from serving.graph.user_inputs import MANY, ONE, Specs
from trainer.config import Config
from trainer.data.tables import UNKNOWN_ITEM
from trainer.data.transform_graph import TransformGraph
from trainer.index.base import Index, SearchResult
from trainer.towers.inputs import ItemInputs


class ItemSignatures(tf.Module):
    """What is computed from the item tower and the index.

    Args:
      config: the configuration.
      tower: the item tower, with its items attached.
      index: over its vectors.
      item_index: string ids -> int64 indices of items.
      transform: the items' transform graph; needed if the tower reads categories or numbers.
      encode: texts string [N] -> vectors float32 [N, width]; needed if the tower reads texts.
    """

    def __init__(
        self,
        config: Config,
        tower: Any,
        index: Index,
        item_index: Callable[[tf.Tensor], tf.Tensor],
        transform: TransformGraph | None,
        encode: Callable[[tf.Tensor], tf.Tensor],
    ) -> None:
        super().__init__(name="items")
        inputs: ItemInputs = tower.inputs
        if transform is None and (inputs.categorical or inputs.multi_valued or inputs.numeric):
            raise ValueError("`item_transform` should be given: the item tower reads categories. Received: None")
        self._config, self._content = config, inputs.content
        self._index, self._transform = index, transform
        # The embeddings of all ids would be as large as the index, and what they lead to is in it.
        self._weights = [variable for variable in tower.variables if variable is not tower.id_embedding]
        self._unknown_id = tf.Variable(tower.id_embedding[:1], trainable=False, name="unknown_id")
        lengths = np.linalg.norm(index.vectors.numpy(), axis=1)
        shrink = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        self._shrink = tf.Variable(shrink, trainable=False, name="inverse_lengths")  # [n + 1]
        # In a namespace: saving looks into Keras layers and functions that are attributes.
        reader = ItemInputReader(config, inputs, transform, encode)
        self._parts = types.SimpleNamespace(tower=tower, reader=reader, item_index=item_index)

    def specs(self) -> Specs:
        """Inputs of `encode`: `item_id` and the columns that the item tower reads, see `ItemInputReader.specs`."""
        return {"item_id": tf.TensorSpec(ONE, tf.string)} | self._parts.reader.specs()

    @staticmethod
    def similar_specs() -> Specs:
        """Inputs of `similar`."""
        return {"item_id": tf.TensorSpec(ONE, tf.string), "exclude_item_id": tf.TensorSpec(MANY, tf.string)}

    def encode(self, **inputs: tf.Tensor) -> tf.Tensor:
        """Vectors of items, float32 [B, dim].

        An item of the catalogue has the vector that it has in the index, whatever else is said of it. Any other, and
        one whose `item_id` is left "", is encoded from its features with the id embedding that new items share.
        """
        item = self._parts.item_index(inputs.pop("item_id"))  # [B]
        vectors = tf.gather(self._index.read_vectors(), item)
        if not self._content:  # the tower knows ids alone: row 0 is what all others have in common
            return vectors
        known = item != UNKNOWN_ITEM
        described = self._parts.tower(self._parts.reader.read(inputs, ~known), unknown=self._unknown_id)
        return tf.where(known[:, tf.newaxis], vectors, described)

    def similar(self, item_id: tf.Tensor, exclude_item_id: tf.Tensor) -> SearchResult:
        """The `serving.k` items whose vectors have the largest cosine with an item's; never the item itself.

        Cosines, because a dot product would name the items with the longest vectors, the popular ones, for every item.
        They are compared exactly, in the time of one pass over the catalogue.

        Args:
          item_id: string [B], in the catalogue; for others nothing is found.
          exclude_item_id: string [B, E].

        Returns:
          cosines float32 [B, K], -inf where there is no item; items int32 [B, K], 0 there.
        """
        item = self._parts.item_index(item_id)
        vectors, shrink = (
            self._index.read_vectors(),
            self._shrink.read_value(),
        )  # not the variables: see `Index.read_vectors`
        queries = tf.gather(vectors, item) * tf.gather(shrink, item)[:, tf.newaxis]
        cosines = tf.matmul(queries, vectors, transpose_b=True) * shrink  # [B, n + 1]
        cosines = tf.where((item != UNKNOWN_ITEM)[:, tf.newaxis], cosines, -np.inf)
        excluded = tf.concat([self._parts.item_index(exclude_item_id), item[:, tf.newaxis]], axis=1)
        return best_without(cosines, excluded, self._config.serving.k)
