"""The functions of the served model: raw strings and numbers in, item ids out.

A signature's inputs are those that this model reads, no more: a model that was trained without event texts does not
ask for them. Rows are padded on the right with "" and 0.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from serving.histories import Histories, last_events
from trainer.config import Config
from trainer.data import UNKNOWN_ITEM
from trainer.index.base import Found, Index
from trainer.text.encoder import TextEncoder
from trainer.towers.inputs import UserInputs
from trainer.transform import TransformGraph

Tensors = dict[str, tf.Tensor]
Specs = dict[str, tf.TensorSpec]


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
    ) -> None:
        super().__init__(name="recommender")
        if len(item_ids) != index.size:
            raise ValueError(f"`item_ids` should be the index's {index.size} items. Received: {len(item_ids)}")
        inputs: UserInputs = towers.user_tower.inputs
        if encoder is None and (inputs.text_width or inputs.query_width):
            raise ValueError("`encoder` should be given: the user tower reads texts. Received: None")
        if transform is None and (inputs.events or inputs.context or inputs.profile):
            raise ValueError("`transform` should be given: the user tower reads categories. Received: None")
        self._config, self._inputs = config, inputs
        self._index, self._encoder, self._transform = index, encoder, transform
        # Saving a Keras model traces it in ways of its own; only its variables are wanted here.
        self._models = types.SimpleNamespace(towers=towers, ranker=ranker)
        self._weights = [*towers.user_tower.variables, *(ranker.variables if ranker is not None else [])]
        ids = [item_id.encode() if isinstance(item_id, str) else item_id for item_id in item_ids]
        self._item_ids = tf.Variable([b"", *ids], trainable=False, name="item_ids")
        self._item_index = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(ids, np.arange(1, len(ids) + 1, dtype=np.int64)), UNKNOWN_ITEM
        )
        self._shared = self._shared_functions()

    @functools.cached_property
    def signatures(self) -> dict[str, Any]:
        """Signature name -> concrete function, for `tf.saved_model.save`."""
        request = self.request_specs()
        recommend = self._concrete(self.recommend, request)
        signatures = {
            "serving_default": recommend,
            "recommend": recommend,
            "retrieve": self._concrete(self.retrieve, request),
        }
        if self._encoder is not None:
            signatures["encode_text"] = self._concrete(self.encode_text, {"text": tf.TensorSpec([None], tf.string)})
        return signatures

    def request_specs(self) -> Specs:
        """Inputs of `recommend` and `retrieve`."""
        inputs, one, many = self._inputs, [None], [None, None]
        specs = {"user_id": tf.TensorSpec(one, tf.string), "history_item_id": tf.TensorSpec(many, tf.string)}
        if inputs.text_width:
            specs["history_text"] = tf.TensorSpec(many, tf.string)
        if inputs.events:
            specs["history_event"] = tf.TensorSpec(many, tf.string)
        if inputs.rating:
            specs["history_rating"] = tf.TensorSpec(many, tf.float32)
        if inputs.clock:
            specs["history_timestamp"] = tf.TensorSpec(many, tf.int64)
            specs["timestamp"] = tf.TensorSpec(one, tf.int64)
        if inputs.query_width:
            specs["query_text"] = tf.TensorSpec(one, tf.string)
        specs |= {f"context_{name}": tf.TensorSpec(one, tf.string) for name in inputs.context}
        for name in inputs.profile:
            specs[f"profile_{name}"] = tf.TensorSpec(one, tf.float32 if self._is_numeric(name) else tf.string)
        specs["exclude_item_id"] = tf.TensorSpec(many, tf.string)
        return specs

    def recommend(self, **inputs: tf.Tensor) -> Tensors:
        """The best `serving.k` items: retrieved, filtered, and ranked if there is a ranking model.

        Args:
          **inputs: see `request_specs`. `history_*` [B, H], oldest event first; `exclude_item_id` [B, E]; others [B].

        Returns:
          `item_id` string [B, K], best first, "" where fewer than K items are allowed; `score` and `retrieval_score`
          float32 [B, K], 0 there.
        """
        found = self._shared.retrieve(inputs)
        scores, items = found["scores"], found["items"]
        ranked = scores if self._models.ranker is None else self._rank(found)
        ranked, place = tf.math.top_k(ranked, min(self._config.serving.k, self._depth))
        items, scores = tf.gather(items, place, batch_dims=1), tf.gather(scores, place, batch_dims=1)
        return self._answer(items, score=ranked, retrieval_score=scores)

    def retrieve(self, **inputs: tf.Tensor) -> Tensors:
        """The items that ranking would choose from: as `recommend`, with max(`ranking.candidates`, `serving.k`) columns
        and the retrieval model's own order. Returns `item_id` and `score`.
        """
        found = self._shared.retrieve(inputs)
        return self._answer(found["items"], score=found["scores"])

    def encode_text(self, text: tf.Tensor) -> Tensors:
        """`embedding` float32 [B, width] of `text` string [B]: of unit length, zeros for an empty text."""
        return {"embedding": self._shared.encode(text)}

    @property
    def _depth(self) -> int:
        return max(self._config.ranking.candidates, self._config.serving.k)

    def _is_numeric(self, profile: str) -> bool:
        users = self._config.data.users
        return users is not None and profile in users.numeric

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
        return types.SimpleNamespace(
            search=tf.function(self._allowed, input_signature=search, autograph=False),
            encode=tf.function(self._encode, input_signature=[text], autograph=False),
            retrieve=tf.function(self._retrieve, input_signature=[self.request_specs()], autograph=False),
        )

    def _concrete(self, function: Callable[..., Tensors], specs: Specs) -> Any:
        named = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()}
        # Keyword arguments stay keyword arguments, whatever names the function gives its own.
        return tf.function(lambda **inputs: function(**inputs), autograph=False).get_concrete_function(**named)

    def _read(self, inputs: Tensors) -> tuple[Tensors, tf.Tensor]:
        """A request as the towers want it, and the indices of what must not be answered, int64 [B, X]."""
        with tf.control_dependencies(_shape_checks(inputs)):
            inputs = {name: tf.identity(value) for name, value in inputs.items()}
        item_index = self._item_index.lookup(inputs["history_item_id"])  # [B, H], all of it
        excluded = self._item_index.lookup(inputs["exclude_item_id"])
        if self._config.data.exclude_history:
            excluded = tf.concat([excluded, item_index], axis=1)
        columns = {name: value for name, value in inputs.items() if name.startswith("history_")}
        columns["item_index"] = item_index
        kept = min(self._config.serving.max_history, self._config.model.max_history)
        histories = last_events(columns, inputs["history_item_id"] != "", kept)
        features = self._event_features(histories) | self._request_features(inputs)
        return features | self._texts(histories, inputs.get("query_text")), excluded

    def _event_features(self, histories: Histories) -> Tensors:
        columns, valid = histories.columns, histories.valid  # each [B, H]
        item_index = tf.where(valid, tf.cast(columns["item_index"], tf.int32), UNKNOWN_ITEM)
        features = {"item_index": item_index, "length": histories.length}
        if self._inputs.events:
            flat = tf.reshape(columns["history_event"], [-1])
            features["event"] = tf.reshape(self._transformed({"event": flat})["event"], tf.shape(valid))
        if self._inputs.rating:
            rating = columns["history_rating"]
            missing = self._config.data.interactions.missing_rating
            present = valid if missing is None else valid & (rating != missing)
            features["rating"] = tf.where(present, rating, np.nan)
        if self._inputs.clock:
            features["timestamp"] = columns["history_timestamp"]
        return features

    def _request_features(self, inputs: Tensors) -> Tensors:
        features = {}
        if self._inputs.clock:
            features["request_timestamp"] = inputs["timestamp"]
        raw = {name: value for name, value in inputs.items() if name.startswith(("context_", "profile_"))}
        if raw:
            for name, ids in self._transformed(raw).items():
                known = ~tf.math.is_nan(raw[name]) if raw[name].dtype.is_floating else True
                features[name] = tf.where(known, ids, 0)
        return features

    def _transformed(self, raw: Tensors) -> Tensors:
        assert self._transform is not None
        return {name: tf.cast(ids, tf.int32) for name, ids in self._transform(raw).items()}

    def _texts(self, histories: Histories, query: tf.Tensor | None) -> Tensors:
        """Vectors of what was written with events and of the query, encoded together: a repeated text costs once."""
        flat = []
        if self._inputs.text_width:
            written = tf.where(histories.valid, histories.columns["history_text"], "")  # [B, H]
            flat.append(tf.reshape(written, [-1]))
        if query is not None:
            flat.append(query)
        if not flat:
            return {}
        vectors = self._shared.encode(tf.concat(flat, axis=0))
        parts = tf.split(vectors, [tf.size(part) for part in flat], num=len(flat))
        features = {}
        if self._inputs.text_width:
            shape = tf.concat([tf.shape(histories.valid), [self._inputs.text_width]], axis=0)
            features["text"] = tf.reshape(parts[0], shape)
        if query is not None:
            features["query"] = tf.ensure_shape(parts[-1], [None, self._inputs.query_width])
        return features

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
        features, excluded = self._read(inputs)
        users = self._models.towers.encode(features, self._index.vectors)  # [B, dim]
        scores, items = self._shared.search(users, excluded, self._depth)
        return {
            "scores": tf.ensure_shape(scores, [None, self._depth]),
            "items": tf.ensure_shape(items, [None, self._depth]),
            "users": users,
            "item_index": features["item_index"],
            "length": features["length"],
        }

    def _allowed(self, users: tf.Tensor, excluded: tf.Tensor, k: tf.Tensor) -> Found:
        """The k best items that are not excluded: [B, dim], [B, X] -> scores [B, k] (-inf: none), items [B, k] (0).

        As many more are fetched as there are exclusions, so that k remain whatever is taken out.
        """
        excluded = tf.sort(tf.pad(tf.cast(excluded, tf.int32), [[0, 0], [1, 0]]), axis=1)  # [B, 1 + X], the first is 0
        new = excluded[:, 1:] != excluded[:, :-1]
        count = tf.reduce_sum(tf.cast(new, tf.int32), axis=1)  # [B], distinct known items
        columns = k + tf.maximum(tf.reduce_max(count), 0)  # the maximum of an empty batch is the least integer
        scores, items = self._index.search(users, columns, k + count)
        place = tf.searchsorted(excluded, items)
        place = tf.minimum(place, tf.shape(excluded)[1] - 1)
        banned = tf.gather(excluded, place, batch_dims=1) == items
        scores, place = tf.math.top_k(tf.where(banned, -np.inf, scores), k)
        items = tf.gather(items, place, batch_dims=1)
        return scores, tf.where(tf.math.is_finite(scores), items, UNKNOWN_ITEM)

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


def _shape_checks(inputs: Tensors) -> list[tf.Operation]:
    """Ops that fail, as INVALID_ARGUMENT with the input's name, where inputs do not go together."""
    batch = tf.shape(inputs["user_id"])[0]
    history = tf.shape(inputs["history_item_id"])
    checks = []
    for name, value in inputs.items():
        if name.startswith("history_"):
            message = f"`{name}` should have the shape [batch of `user_id`, events of `history_item_id`]"
            checks.append(tf.debugging.assert_equal(tf.shape(value), [batch, history[1]], message))
        elif name != "user_id":
            message = f"`{name}` should have as many rows as `user_id`"
            checks.append(tf.debugging.assert_equal(tf.shape(value)[0], batch, message))
    return checks
