"""Encodes users: turns raw inputs into user vectors."""

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
      history_item_index: int64 [B, H], of the whole history of the request, not only of the events that the tower
        reads.
      features: the user tower's features.
    """

    vectors: tf.Tensor
    history_item_index: tf.Tensor
    features: Tensors


class UserEncoder:
    """Encodes users with the user tower. All signatures share its functions, so the graph holds each function once.

    Args:
      towers: the retrieval model.
      reader: makes the user tower's features.
      catalogue: maps the item ids of histories to indices.
    """

    def __init__(self, towers: Any, reader: UserInputReader, catalogue: Catalogue) -> None:
        self._reader, self._catalogue = reader, catalogue
        # There is no input signature, because the features depend on the model. All calls have unknown sizes, so they
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
        """Encodes the users of a request.

        Args:
          inputs: those in `UserInputReader.specs`, with texts or with vectors in place of texts.
        """
        embedded = any(name.endswith("_embedding") for name in inputs)
        return (self._encode_embedded if embedded else self._encode)(inputs)

    def encode_features(self, features: Tensors) -> tf.Tensor:
        """Runs the user tower: features of B users -> vectors float32 [B, dim]."""
        return self._tower(features)

    def _read_and_encode(self, inputs: Tensors) -> Users:
        history_item_index = self._catalogue.indices(inputs["history_item_id"])
        features = self._reader.read({**inputs, "history_item_index": history_item_index})
        return Users(self._tower(features), history_item_index, features)
