"""From raw inputs to user vectors."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from serving.graph.catalogue import Catalogue
from serving.graph.specs import Tensors
from serving.graph.user_inputs import UserInputReader


class Users(NamedTuple):
    """The users of a batch.

    Attributes:
      vectors: float32 [B, dim].
      history_item_index: int64 [B, H], the whole history of the request, not only the events that the tower reads.
      features: of the user tower.
    """

    vectors: tf.Tensor
    history_item_index: tf.Tensor
    features: Tensors


class UserEncoder:
    """Encodes users with the user tower. Signatures share its functions, so that the graph holds each once.

    Args:
      towers: the retrieval model.
      reader: makes the user tower's features.
      catalogue: the items that a history may name.
    """

    def __init__(self, towers: Any, reader: UserInputReader, catalogue: Catalogue) -> None:
        self._reader, self._catalogue = reader, catalogue
        # Without an input signature, because the features depend on the model. All calls have unknown sizes and thus
        # share one trace.
        self._tower = tf.function(
            lambda features: towers.encode(features, catalogue.index.read_vectors()),
            autograph=False,
            reduce_retracing=True,
        )
        specs, embedded_specs = reader.specs(), reader.specs(embedded=True)
        self._encode = tf.function(self._read_and_encode, input_signature=[specs], autograph=False)
        self._encode_embedded = tf.function(self._read_and_encode, input_signature=[embedded_specs], autograph=False)

    def __call__(self, inputs: Tensors) -> Users:
        """Encodes users.

        Args:
          inputs: those in `UserInputReader.specs`, with texts or with their vectors.
        """
        embedded = any(name.endswith("_embedding") for name in inputs)
        return (self._encode_embedded if embedded else self._encode)(inputs)

    def encode_features(self, features: Tensors) -> tf.Tensor:
        """The user tower: features of B users -> float32 [B, dim]."""
        return self._tower(features)

    def _read_and_encode(self, inputs: Tensors) -> Users:
        history_item_index = self._catalogue.indices(inputs["history_item_id"])
        features = self._reader.read({**inputs, "history_item_index": history_item_index})
        return Users(self._tower(features), history_item_index, features)
