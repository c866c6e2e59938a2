"""The functions of the served model: raw strings and numbers in, item ids out."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from serving import diversity
from serving.categories import Categories
from serving.checks import checked
from serving.filters import search_within, search_without
from serving.requests import MANY, ONE, RequestReader, Specs, Tensors
from trainer.config import Config
from trainer.data import UNKNOWN_ITEM
from trainer.index.base import Found, Index
from trainer.text.encoder import TextEncoder
from trainer.towers.inputs import UserInputs
from trainer.transform import TransformGraph


class Recommender(tf.Module):
    """Everything that answers a request, from text to item ids.

    Args:
      config: the configuration.
      towers: the trained retrieval model; its user tower is used.
      index: over the item tower's vectors; row 0 of `index.vectors` is the unknown item's.
      item_ids: string ids of the items 1..n.
      encoder: of texts; needed if the user tower reads any.
      transform: the sequences' transform graph; needed if the user tower reads event kinds, context or profile.
      ranker: the ranking model, or None: then `recommend` is `retrieve` cut to `serving.k`.
      categories: what `allowed_category` names; None: there is no such input.
    """

    def __init__(
        self,
        config: Config,
        towers: Any,
        index: Index,
        item_ids: np.ndarray,
        encoder: TextEncoder | None = None,
        transform: TransformGraph | None = None,
        ranker: Any = None,
        categories: Categories | None = None,
    ) -> None:
        super().__init__(name="recommender")
        if len(item_ids) != index.size:
            raise ValueError(f"`item_ids` should be the index's {index.size} items. Received: {len(item_ids)}")
        inputs: UserInputs = towers.user_tower.inputs
        if encoder is None and (inputs.text_width or inputs.query_width):
            raise ValueError("`encoder` should be given: the user tower reads texts. Received: None")
        if transform is None and (inputs.events or inputs.context or inputs.profile):
            raise ValueError("`transform` should be given: the user tower reads categories. Received: None")
        self._config = config
        self._index, self._encoder, self._transform = index, encoder, transform
        self._categories = categories
        # Saving a Keras model traces it in ways of its own; only its variables are wanted here.
        self._models = types.SimpleNamespace(towers=towers, ranker=ranker)
        self._weights = [*towers.user_tower.variables, *(ranker.variables if ranker is not None else [])]
        ids = [item_id.encode() if isinstance(item_id, str) else item_id for item_id in item_ids]
        self._item_ids = tf.Variable([b"", *ids], trainable=False, name="item_ids")
        self._item_index = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(ids, np.arange(1, len(ids) + 1, dtype=np.int64)), UNKNOWN_ITEM
        )
        self._reader = RequestReader(config, inputs, transform, lambda texts: self._shared.encode(texts))
        self._shared = self._shared_functions()

    @functools.cached_property
    def signatures(self) -> dict[str, Any]:
        """Signature name -> concrete function, for `tf.saved_model.save`."""
        request = self.request_specs()
        recommend = self._concrete(self.recommend, request | {"diversity": tf.TensorSpec(ONE, tf.float32)})
        signatures = {
            "serving_default": recommend,
            "recommend": recommend,
            "retrieve": self._concrete(self.retrieve, request),
        }
        if self._encoder is not None:
            signatures["encode_text"] = self._concrete(self.encode_text, {"text": tf.TensorSpec([None], tf.string)})
        return signatures

    def request_specs(self) -> Specs:
        """Inputs of `retrieve`; `recommend` has `diversity` too."""
        filters = ["exclude_item_id", *(["allowed_category"] if self._categories is not None else [])]
        return self._reader.specs() | {name: tf.TensorSpec(MANY, tf.string) for name in filters}

    def recommend(self, **inputs: tf.Tensor) -> Tensors:
        """The best `serving.k` items: retrieved, filtered, ranked if there is a ranking model, and diversified.

        Args:
          **inputs: see `request_specs`. `history_*` [B, H], oldest event first; `exclude_item_id` [B, E];
            `allowed_category` [B, C], only items of one of these, any item where all are ""; `diversity` [B] in 0..1, 0
            leaves the order alone, see `serving.diversity`; others [B].

        Returns:
          `item_id` string [B, K], best first, "" where fewer than K items are allowed; `score` (of the ranking model)
          and `retrieval_score` float32 [B, K], 0 there.
        """
        inputs = checked(inputs, "user_id")
        share = inputs.pop("diversity")
        found = self._shared.retrieve(inputs)
        scores, items = found["scores"], found["items"]
        ranked = scores if self._models.ranker is None else self._rank(found)
        count = min(self._config.serving.k, self._depth)
        ranked, place = diversity.best(ranked, lambda: tf.gather(self._index.vectors, items), share, count)
        items, scores = tf.gather(items, place, batch_dims=1), tf.gather(scores, place, batch_dims=1)
        return self._answer(items, score=ranked, retrieval_score=scores)

    def retrieve(self, **inputs: tf.Tensor) -> Tensors:
        """The items that ranking would choose from: as `recommend`, with max(`ranking.candidates`, `serving.k`) columns
        and the retrieval model's own order. Returns `item_id` and `score`.
        """
        found = self._shared.retrieve(checked(inputs, "user_id"))
        return self._answer(found["items"], score=found["scores"])

    def encode_text(self, text: tf.Tensor) -> Tensors:
        """`embedding` float32 [B, width] of `text` string [B]: of unit length, zeros for an empty text."""
        return {"embedding": self._shared.encode(text)}

    @property
    def _depth(self) -> int:
        return max(self._config.ranking.candidates, self._config.serving.k)

    def _shared_functions(self) -> types.SimpleNamespace:
        """What signatures have in common, as functions: each is traced once, and is in the graph once.

        In a namespace, because saving would make an entry point of every tf.function that is an attribute.
        """
        text = tf.TensorSpec([None], tf.string)
        search = [
            tf.TensorSpec([None, self._index.dim], tf.float32),
            tf.TensorSpec([None, None], tf.int64),
            tf.TensorSpec([], tf.int32),
        ]
        if self._categories is not None:
            search.append(tf.TensorSpec([None, None], tf.int32))
        return types.SimpleNamespace(
            search=tf.function(self._search, input_signature=search, autograph=False),
            encode=tf.function(self._encode, input_signature=[text], autograph=False),
            retrieve=tf.function(self._retrieve, input_signature=[self.request_specs()], autograph=False),
        )

    def _concrete(self, function: Callable[..., Tensors], specs: Specs) -> Any:
        named = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()}
        # Keyword arguments stay keyword arguments, whatever names the function gives its own.
        return tf.function(lambda **inputs: function(**inputs), autograph=False).get_concrete_function(**named)

    def _encode(self, texts: tf.Tensor) -> tf.Tensor:
        assert self._encoder is not None
        encoder = self._encoder
        vectors = tf.cond(
            tf.reduce_any(texts != ""),
            lambda: encoder(texts),
            lambda: tf.zeros([tf.size(texts), encoder.width]),
        )
        return tf.ensure_shape(vectors, [None, encoder.width])

    def _retrieve(self, inputs: Tensors) -> Tensors:
        """`scores` and `items` [B, N], and what ranking wants to know of the user."""
        inputs = dict(inputs)
        inputs["history_item_index"] = self._item_index.lookup(inputs["history_item_id"])
        features = self._reader.read(inputs)
        users = self._models.towers.encode(features, self._index.vectors)  # [B, dim]
        allowed = [] if self._categories is None else [self._categories.ids(inputs["allowed_category"])]
        scores, items = self._shared.search(users, self._excluded(inputs), self._depth, *allowed)
        return {
            "scores": tf.ensure_shape(scores, [None, self._depth]),
            "items": tf.ensure_shape(items, [None, self._depth]),
            "users": users,
            "item_index": features["item_index"],
            "length": features["length"],
        }

    def _search(self, users: tf.Tensor, excluded: tf.Tensor, k: tf.Tensor, allowed: tf.Tensor | None = None) -> Found:
        if self._categories is None or allowed is None:
            return search_without(self._index, users, excluded, k)
        return search_within(self._index, self._categories, users, excluded, allowed, k)

    def _excluded(self, inputs: Tensors) -> tf.Tensor:
        """Indices of what must not be answered, int64 [B, X]: of the whole history, however much of it is read."""
        excluded = self._item_index.lookup(inputs["exclude_item_id"])
        if self._config.data.exclude_history:
            excluded = tf.concat([excluded, inputs["history_item_index"]], axis=1)
        return excluded

    def _rank(self, found: Tensors) -> tf.Tensor:
        """Logits [B, N] of what was retrieved; what lies beyond `ranking.candidates` stays behind, in its order."""
        count = self._config.ranking.candidates
        scores, items = found["scores"], found["items"][:, :count]
        logits = self._models.ranker.score(
            {
                "user_vector": found["users"],
                "item_index": found["item_index"],
                "length": found["length"],
                "candidate": items,
                "retrieval_score": scores[:, :count],
            },
            self._index.vectors,
        )["logits"]
        lowest = tf.reduce_min(logits, axis=1, keepdims=True)
        # -inf less -inf is not a number; where the ranked part is not full, nothing is behind it.
        behind = lowest + scores[:, count:] - scores[:, count - 1 : count]
        behind = tf.where(tf.math.is_finite(scores[:, count:]), behind, -np.inf)
        return tf.concat([logits, behind], axis=1)

    def _answer(self, items: tf.Tensor, **scores: tf.Tensor) -> Tensors:
        answer = {"item_id": tf.gather(self._item_ids, items)}
        # JSON knows no infinity.
        return answer | {name: tf.where(items != UNKNOWN_ITEM, value, 0.0) for name, value in scores.items()}
