"""The functions of the served model: raw strings and numbers in, item ids out."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from serving.graph import diversity, explanations
from serving.graph.categories import Categories
from serving.graph.filters import search_within, search_without
from serving.graph.input_checks import checked
from serving.graph.item_signatures import ItemSignatures
from serving.graph.user_inputs import MANY, ONE, Specs, Tensors, UserInputReader
from serving.wire.scores import NO_SCORE
from trainer.config import Config
from trainer.data.tables import UNKNOWN_ITEM
from trainer.data.transform_graph import TransformGraph
from trainer.graphs import outlined_branch
from trainer.index.base import Index, SearchResult
from trainer.text.encoder import TextEncoder
from trainer.towers.inputs import UserInputs


class Recommender(tf.Module):
    """Everything that answers a request, from text to item ids.

    Args:
      config: the configuration.
      towers: the trained retrieval model, with its items attached.
      index: over the item tower's vectors; row 0 of `index.vectors` is the unknown item's.
      item_ids: string ids of the items 1..n.
      encoder: of texts; needed if a tower reads any.
      transform: the sequences' transform graph; needed if the user tower reads event kinds, context or profile.
      ranker: the ranking model, or None: then `recommend` is `retrieve` cut to `serving.k`.
      categories: what `allowed_category` names; None: there is no such input.
      item_transform: the items' transform graph; needed if the item tower reads categories or numbers.
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
        item_transform: TransformGraph | None = None,
    ) -> None:
        super().__init__(name="recommender")
        if len(item_ids) != index.size:
            raise ValueError(f"`item_ids` should be the index's {index.size} items. Received: {len(item_ids)}")
        inputs: UserInputs = towers.user_tower.inputs
        item_texts = towers.item_tower.inputs.text_width
        if encoder is None and (inputs.text_width or inputs.query_width or item_texts):
            raise ValueError("`encoder` should be given: the towers read texts. Received: None")
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
        self._reader = UserInputReader(config, inputs, transform, lambda texts: self._shared.encode(texts))
        self._items = ItemSignatures(
            config,
            towers.item_tower,
            index,
            self._item_index.lookup,
            item_transform,
            lambda texts: self._shared.encode(texts),
        )
        self._shared = self._shared_functions()

    @functools.cached_property
    def signatures(self) -> dict[str, Any]:
        """Signature name -> concrete function, for `tf.saved_model.save`."""
        user = self._reader.specs()
        candidates = {"candidate_item_id": tf.TensorSpec(MANY, tf.string)}
        recommend = self._concrete(self.recommend, self.recommend_specs())
        signatures = {
            "serving_default": recommend,
            "recommend": recommend,
            "retrieve": self._concrete(self.retrieve, user | self._filter_specs()),
            "rank": self._concrete(self.rank, user | candidates),
            "encode_user": self._concrete(self.encode_user, user),
            "encode_item": self._concrete(self.encode_item, self._items.specs(), "item_id"),
            "similar_items": self._concrete(self.similar_items, self._items.similar_specs(), "item_id"),
        }
        if self._reader.specs(embedded=True) != user:
            specs = self.recommend_specs(embedded=True)
            signatures["recommend_embedded"] = self._concrete(self.recommend, specs)
        if self._encoder is not None:
            text = {"text": tf.TensorSpec(ONE, tf.string)}
            signatures["encode_text"] = self._concrete(self.encode_text, text, "text")
        return signatures

    @property
    def text_vectors(self) -> dict[str, Any] | None:
        """Which signatures have one that takes vectors in place of texts, for servers that keep vectors; see
        `serving.server.runtime.text_reuse`. None where no texts are read.
        """
        if self._encoder is None or "recommend_embedded" not in self.signatures:
            return None
        return {
            "encoder": self._encoder.fingerprint,
            "encode": "encode_text",
            "embedded": dict.fromkeys(("serving_default", "recommend"), "recommend_embedded"),
            "max_history": self._reader.kept,
        }

    def recommend_specs(self, *, embedded: bool = False) -> Specs:
        """Inputs of `recommend`, or of `recommend_embedded`."""
        told = {"diversity": tf.TensorSpec(ONE, tf.float32), "explain": tf.TensorSpec(ONE, tf.bool)}
        return self._reader.specs(embedded=embedded) | self._filter_specs() | told

    def _filter_specs(self) -> Specs:
        names = ["exclude_item_id", *(["allowed_category"] if self._categories is not None else [])]
        return {name: tf.TensorSpec(MANY, tf.string) for name in names}

    def recommend(self, **inputs: tf.Tensor) -> Tensors:
        """The best `serving.k` items: retrieved, filtered, ranked if there is a ranking model, and diversified.

        Signatures `recommend` and, with vectors from `encode_text` in place of texts, `recommend_embedded`.

        Args:
          **inputs: see `recommend_specs`. `history_*` [B, H], oldest event first; `exclude_item_id` [B, E];
            `allowed_category` [B, C], only items of one of these, any item where all are ""; `diversity` [B] in 0..1, 0
            leaves the order alone, see `diversity.py`; `explain` bool [B], for reasons, see `explanations.py`: it
            costs the user tower once for each event of the history that is read; others [B].

        Returns:
          `item_id` string [B, K], best first, "" where fewer than K items are allowed; `score` (of the ranking model)
          and `retrieval_score` float32 [B, K], 0 there; `reason_history_position` int32 [B, K], the column of the
          history whose event raises the item's retrieval score most, -1 where none does or nobody asked.
        """
        share, explain = inputs.pop("diversity"), inputs.pop("explain")
        found = self._retrieved(inputs)
        scores, items = found["scores"], found["items"]
        ranked = scores if self._models.ranker is None else self._rank(found)
        count = min(self._config.serving.k, self._depth)
        ranked, place = diversity.best(ranked, lambda: tf.gather(self._index.read_vectors(), items), share, count)
        items, scores = tf.gather(items, place, batch_dims=1), tf.gather(scores, place, batch_dims=1)
        because = self._reasons(inputs, found["features"], items, scores, explain)
        return self._answer(items, score=ranked, retrieval_score=scores) | {"reason_history_position": because}

    def retrieve(self, **inputs: tf.Tensor) -> Tensors:
        """The items that ranking would choose from: as `recommend`, with max(`ranking.candidates`, `serving.k`) columns
        and the retrieval model's own order. Returns `item_id` and `score`.
        """
        found = self._retrieved(inputs)
        return self._answer(found["items"], score=found["scores"])

    def rank(self, **inputs: tf.Tensor) -> Tensors:
        """Scores of the caller's candidates as `recommend` would have them, in the caller's order; nothing is filtered.

        Args:
          **inputs: a user's, and `candidate_item_id` [B, N].

        Returns:
          `score` and `retrieval_score` float32 [B, N]; with a ranking model that learnt from ratings also `rating`, the
          one to be expected, and `liked`, the probability that it is at least `ranking.liked_rating`. `NO_SCORE`, the
          least float32, where the item is not in the catalogue.
        """
        items = tf.cast(self._item_index.lookup(inputs.pop("candidate_item_id")), tf.int32)  # [B, N]
        user = self._shared.user(inputs)
        scores = tf.linalg.matvec(tf.gather(self._index.read_vectors(), items), user["users"])
        scores = tf.where(items != UNKNOWN_ITEM, scores, -np.inf)
        named = {"score": scores, "retrieval_score": scores}
        if self._models.ranker is not None:
            ranked = self._ranked(user, scores, items)
            named["score"] = ranked.pop("logits")
            named |= ranked
        return {name: tf.where(items != UNKNOWN_ITEM, value, NO_SCORE) for name, value in named.items()}

    def encode_user(self, **inputs: tf.Tensor) -> Tensors:
        """`embedding` float32 [B, dim] of users: its dot product with an item's is the retrieval score."""
        return {"embedding": self._shared.user(inputs)["users"]}

    def encode_item(self, **inputs: tf.Tensor) -> Tensors:
        """`embedding` float32 [B, dim] of items, in the catalogue or not: see `ItemSignatures.encode`."""
        return {"embedding": self._items.encode(**inputs)}

    def similar_items(self, **inputs: tf.Tensor) -> Tensors:
        """`item_id` string and `score` float32 [B, K] of the items most like others, best first, padded with "" and 0:
        see `ItemSignatures.similar`.
        """
        scores, items = self._items.similar(**inputs)
        return self._answer(items, score=scores)

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
        user, embedded = self._reader.specs(), self._reader.specs(embedded=True)
        search = [
            tf.TensorSpec([None, self._index.dim], tf.float32),
            tf.TensorSpec([None, None], tf.int64),
            tf.TensorSpec([], tf.int32),
        ]
        if self._categories is not None:
            search.append(tf.TensorSpec([None, None], tf.int32))
        # Of no signature: what they take depends on the model. All calls have unknown sizes, and so share one trace.
        untyped = {"autograph": False, "reduce_retracing": True}
        models, index = self._models, self._index
        return types.SimpleNamespace(
            tower=tf.function(lambda features: models.towers.encode(features, index.read_vectors()), **untyped),
            ranker=tf.function(lambda inputs: models.ranker.score(inputs, index.read_vectors()), **untyped),
            search=tf.function(self._search, input_signature=search, autograph=False),
            encode=tf.function(self._encode, input_signature=[text], autograph=False),
            user=tf.function(self._user, input_signature=[user], autograph=False),
            user_embedded=tf.function(self._user, input_signature=[embedded], autograph=False),
        )

    def _concrete(self, function: Callable[..., Tensors], specs: Specs, rows: str = "user_id") -> Any:
        named = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()}
        # Keyword arguments stay keyword arguments, whatever names the function gives its own.
        checking = tf.function(lambda **inputs: function(**checked(inputs, rows)), autograph=False)
        return checking.get_concrete_function(**named)

    def _encode(self, texts: tf.Tensor) -> tf.Tensor:
        assert self._encoder is not None
        encoder = self._encoder
        vectors = tf.cond(
            tf.reduce_any(texts != ""),
            lambda: encoder(texts),
            lambda: tf.zeros([tf.size(texts), encoder.width]),
        )
        return tf.ensure_shape(vectors, [None, encoder.width])

    def _user(self, inputs: Tensors) -> dict[str, Any]:
        """Vectors of users [B, dim], and what else is wanted of them later."""
        item_index = self._item_index.lookup(inputs["history_item_id"])
        features = self._reader.read({**inputs, "history_item_index": item_index})
        return {
            "users": self._shared.tower(features),
            "history_item_index": item_index,  # int64 [B, H], all of it
            "item_index": features["item_index"],
            "length": features["length"],
            "features": features,
        }

    def _retrieved(self, inputs: Tensors) -> dict[str, Any]:
        """`scores` and `items` [B, N], and what `_user` gives."""
        filters = {name: inputs[name] for name in self._filter_specs()}
        of_user = {name: value for name, value in inputs.items() if name not in filters}
        embedded = any(name.endswith("_embedding") for name in inputs)
        user = (self._shared.user_embedded if embedded else self._shared.user)(of_user)
        named = self._item_index.lookup(filters["exclude_item_id"])
        excluded = tf.concat([named, self._not_again(inputs, user["history_item_index"])], axis=1)
        allowed = [] if self._categories is None else [self._categories.ids(filters["allowed_category"])]
        scores, items = self._shared.search(user["users"], excluded, self._depth, *allowed)
        shape = [None, self._depth]
        return {**user, "scores": tf.ensure_shape(scores, shape), "items": tf.ensure_shape(items, shape)}

    def _not_again(self, inputs: Tensors, history: tf.Tensor) -> tf.Tensor:
        """What of a history, int64 [B, H] and however much of it is read, may not be recommended; 0 elsewhere."""
        data = self._config.data
        if data.exclude_history:
            return history
        if not data.exclude_recent_seconds:
            return history[:, :0]
        times, now = inputs["history_timestamp"], inputs["timestamp"][:, tf.newaxis]
        # A last event of 0 stands for no event: so that a row without any, or of width 0, has one.
        last = tf.reduce_max(tf.pad(times, [[0, 0], [0, 1]]), axis=1, keepdims=True)
        before = tf.maximum(tf.where(now > 0, now, last) - data.exclude_recent_seconds, 0)
        return tf.where(times > before, history, UNKNOWN_ITEM)

    def _search(
        self, users: tf.Tensor, excluded: tf.Tensor, k: tf.Tensor, allowed: tf.Tensor | None = None
    ) -> SearchResult:
        if self._categories is None or allowed is None:
            return search_without(self._index, users, excluded, k)
        return search_within(self._index, self._categories, users, excluded, allowed, k)

    def _reasons(
        self, inputs: Tensors, features: Tensors, items: tf.Tensor, scores: tf.Tensor, explain: tf.Tensor
    ) -> tf.Tensor:
        """Columns of the history that speak most for the items [B, K], in the rows that ask; -1 elsewhere."""
        none = tf.fill(tf.shape(items), -1)

        def explained() -> tf.Tensor:
            rows = tf.where(explain)  # [R, 1]

            def of_rows(value: tf.Tensor) -> tf.Tensor:
                return tf.gather(value, rows[:, 0])

            history = {name: of_rows(value) for name, value in inputs.items() if name.startswith("history_")}
            history["history_item_index"] = self._item_index.lookup(history["history_item_id"])
            columns = explanations.influential_history_columns(
                self._shared.tower,
                self._reader,
                history,
                {name: of_rows(value) for name, value in features.items()},
                tf.gather(self._index.read_vectors(), of_rows(items)),
                of_rows(scores),
            )
            return tf.tensor_scatter_nd_update(none, rows, columns)

        return tf.ensure_shape(tf.cond(tf.reduce_any(explain), outlined_branch(explained), lambda: none), items.shape)

    def _rank(self, found: Tensors) -> tf.Tensor:
        """Logits [B, N] of what was retrieved; what lies beyond `ranking.candidates` stays behind, in its order."""
        count = self._config.ranking.candidates
        scores = found["scores"]
        logits = self._ranked(found, scores[:, :count], found["items"][:, :count])["logits"]
        lowest = tf.reduce_min(logits, axis=1, keepdims=True)
        # -inf less -inf is not a number; where the ranked part is not full, nothing is behind it.
        behind = lowest + scores[:, count:] - scores[:, count - 1 : count]
        behind = tf.where(tf.math.is_finite(scores[:, count:]), behind, -np.inf)
        return tf.concat([logits, behind], axis=1)

    def _ranked(self, user: Tensors, scores: tf.Tensor, items: tf.Tensor) -> Tensors:
        """What the ranking model says of candidates, given with their retrieval scores, -inf for none: [B, N]."""
        inputs = {name: user[name] for name in ("item_index", "length")}
        if "rating" in user["features"]:
            inputs["rating"] = user["features"]["rating"]
        inputs |= {"user_vector": user["users"], "candidate": items, "retrieval_score": scores}
        return self._shared.ranker(inputs)

    def _answer(self, items: tf.Tensor, **scores: tf.Tensor) -> Tensors:
        answer = {"item_id": tf.gather(self._item_ids, items)}
        # JSON knows no infinity.
        return answer | {name: tf.where(items != UNKNOWN_ITEM, value, 0.0) for name, value in scores.items()}
