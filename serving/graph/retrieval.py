"""The first step of a recommendation: searches the index for the items with the highest retrieval scores."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from serving.graph.catalogue import Catalogue
from serving.graph.categories import Categories
from serving.graph.filters import search_excluding, search_in_categories
from serving.graph.specs import MANY, Specs, Tensors
from serving.graph.user_encoder import UserEncoder, Users
from trainer.config import Config
from trainer.data.tables import UNKNOWN_ITEM
from trainer.index.base import SearchResult


class Candidates(NamedTuple):
    """Retrieved items, best first.

    Attributes:
      users: the users they were retrieved for.
      scores: retrieval scores, float32 [B, N]; -inf where there is no item.
      items: int32 [B, N]; 0 where there is no item.
    """

    users: Users
    scores: tf.Tensor
    items: tf.Tensor


class Retrieval:
    """Retrieves the candidates of users.

    Args:
      config: the configuration.
      encoder: encodes users.
      catalogue: the items to choose from.
      categories: the items of each category; None: there is no input `allowed_category`.

    Attributes:
      depth: number of candidates, N.
    """

    def __init__(
        self, config: Config, encoder: UserEncoder, catalogue: Catalogue, categories: Categories | None
    ) -> None:
        self.depth = max(config.ranking.candidates, config.serving.k)
        self._data, self._encoder, self._catalogue, self._categories = config.data, encoder, catalogue, categories
        specs = [
            tf.TensorSpec([None, catalogue.index.dim], tf.float32),
            tf.TensorSpec(MANY, tf.int64),
            tf.TensorSpec([], tf.int32),
        ]
        if categories is not None:
            specs.append(tf.TensorSpec(MANY, tf.int32))
        self._search = tf.function(self._search_index, input_signature=specs, autograph=False)

    def filter_specs(self) -> Specs:
        """Inputs that filter items: `exclude_item_id` [B, E] and `allowed_category` [B, C], strings."""
        names = ["exclude_item_id", *(["allowed_category"] if self._categories is not None else [])]
        return {name: tf.TensorSpec(MANY, tf.string) for name in names}

    def __call__(self, inputs: Tensors) -> Candidates:
        """The candidates for the users of a request. `inputs` describe the users, and hold those in `filter_specs`."""
        filters = {name: inputs[name] for name in self.filter_specs()}
        users = self._encoder({name: value for name, value in inputs.items() if name not in filters})
        excluded = self._catalogue.indices(filters["exclude_item_id"])
        excluded = tf.concat([excluded, self._excluded_history(inputs, users.history_item_index)], axis=1)
        allowed = [] if self._categories is None else [self._categories.ids(filters["allowed_category"])]
        scores, items = self._search(users.vectors, excluded, self.depth, *allowed)
        shape = [None, self.depth]
        return Candidates(users, tf.ensure_shape(scores, shape), tf.ensure_shape(items, shape))

    def _excluded_history(self, inputs: Tensors, history: tf.Tensor) -> tf.Tensor:
        """The items of a history, int64 [B, H], with 0 in place of those that may be recommended again."""
        if self._data.exclude_history:
            return history
        if not self._data.exclude_recent_seconds:
            return history[:, :0]
        times, now = inputs["history_timestamp"], inputs["timestamp"][:, tf.newaxis]
        # A column of zeros is added, so that rows without events, and histories of width 0, have the maximum 0: no
        # time.
        latest = tf.reduce_max(tf.pad(times, [[0, 0], [0, 1]]), axis=1, keepdims=True)
        threshold = tf.maximum(tf.where(now > 0, now, latest) - self._data.exclude_recent_seconds, 0)
        return tf.where(times > threshold, history, UNKNOWN_ITEM)

    def _search_index(
        self, queries: tf.Tensor, excluded: tf.Tensor, k: tf.Tensor, allowed: tf.Tensor | None = None
    ) -> SearchResult:
        if self._categories is None or allowed is None:
            return search_excluding(self._catalogue.index, queries, excluded, k)
        return search_in_categories(self._catalogue.index, self._categories, queries, excluded, allowed, k)
