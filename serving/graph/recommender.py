"""The signatures of the served model: raw strings and numbers in, item ids and scores out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from serving.graph import diversity
from serving.graph.catalogue import Catalogue
from serving.graph.categories import Categories
from serving.graph.explanations import Explanations
from serving.graph.input_checks import check_inputs
from serving.graph.item_inputs import ItemEncoder
from serving.graph.item_vectors import ItemVectors
from serving.graph.ranking import Ranking
from serving.graph.retrieval import Retrieval
from serving.graph.specs import MANY, ONE, Specs, Tensors
from serving.graph.text_encoding import TextEncoding
from serving.graph.user_encoder import UserEncoder
from serving.graph.user_inputs import UserInputReader
from serving.wire.scores import NO_SCORE
from trainer.config import Config
from trainer.data.tables import UNKNOWN_ITEM
from trainer.data.transform_graph import TransformGraph
from trainer.index.base import Index
from trainer.text.encoder import TextEncoder
from trainer.towers.inputs import UserInputs


class Recommender(tf.Module):
    """Answers requests: takes raw inputs, returns item ids.

    `tf.saved_model.save` follows the attributes of a `tf.Module`. It would trace every Keras model again and save every
    `tf.function` as a function of its own. To avoid this, the steps (`UserEncoder`, `Retrieval`, `Ranking`, ...), which
    hold models and shared functions, are plain objects: saving does not follow them. What their graphs need is an
    attribute of this module: variables, lookup tables, the text encoder and the transform graphs.

    Args:
      config: the configuration.
      towers: the trained retrieval model, with its items attached.
      index: holds the item tower's vectors; row 0 of `index.vectors` is the unknown item.
      item_ids: string ids of the items 1..n.
      encoder: the text encoder; needed if a tower reads texts.
      transform: the sequences' transform graph; needed if the user tower reads event kinds, context or profile.
      ranker: the ranking model; None: `recommend` keeps the order of retrieval.
      categories: the items of each category; None: there is no input `allowed_category`.
      item_transform: the items' transform graph; needed if the item tower reads categorical, multi-valued or numeric
        features.
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
        inputs: UserInputs = towers.user_tower.inputs
        item_texts = towers.item_tower.inputs.text_width
        if encoder is None and (inputs.text_width or inputs.query_width or item_texts):
            raise ValueError("`encoder` should be given: the towers read texts. Received: None")
        if transform is None and (inputs.events or inputs.context or inputs.profile):
            raise ValueError("`transform` should be given: the user tower reads categories. Received: None")
        self._config = config
        self._encoder, self._transform, self._item_transform = encoder, transform, item_transform
        self._categories = categories
        self._weights = [*towers.user_tower.variables, *(ranker.variables if ranker is not None else [])]
        self._catalogue = Catalogue(item_ids, index)

        self._encode_text = None if encoder is None else TextEncoding(encoder)
        self._reader = UserInputReader(config, inputs, transform, self._encode_text)
        self._users = UserEncoder(towers, self._reader, self._catalogue)
        self._retrieval = Retrieval(config, self._users, self._catalogue, categories)
        self._ranking = None if ranker is None else Ranking(ranker, self._catalogue, config.ranking.candidates)
        self._explanations = Explanations(self._users, self._reader, self._catalogue)
        item_encoder = ItemEncoder(config, towers.item_tower, item_transform, self._encode_text)
        self._item_vectors = ItemVectors(towers.item_tower, item_encoder, self._catalogue)

    @functools.cached_property
    def signatures(self) -> dict[str, Any]:
        """Signature name -> concrete function, for `tf.saved_model.save`."""
        user, retrieve = self._reader.specs(), self._reader.specs() | self._retrieval.filter_specs()
        candidates = {"candidate_item_id": tf.TensorSpec(MANY, tf.string)}
        recommend = _signature(self.recommend, self.recommend_specs())
        signatures = {
            "serving_default": recommend,
            "recommend": recommend,
            "retrieve": _signature(self.retrieve, retrieve),
            "rank": _signature(self.rank, user | candidates),
            "encode_user": _signature(self.encode_user, user),
            "encode_item": _signature(self.encode_item, self._item_vectors.encode_specs(), "item_id"),
            "similar_items": _signature(self.similar_items, self._item_vectors.similar_specs(), "item_id"),
        }
        if self._reader.specs(embedded=True) != user:
            signatures["recommend_embedded"] = _signature(self.recommend, self.recommend_specs(embedded=True))
        if self._encode_text is not None:
            signatures["encode_text"] = _signature(self.encode_text, {"text": tf.TensorSpec(ONE, tf.string)}, "text")
        return signatures

    @property
    def text_vectors(self) -> dict[str, Any] | None:
        """Names of the signatures that take vectors in place of texts, for servers that cache text vectors: see
        `serving.server.runtime.text_reuse`. None if the user tower reads no texts.
        """
        if self._encoder is None or "recommend_embedded" not in self.signatures:
            return None
        return {
            "encoder": self._encoder.fingerprint,
            "encode": "encode_text",
            "embedded": dict.fromkeys(("serving_default", "recommend"), "recommend_embedded"),
            "max_history": self._reader.max_events,
        }

    def recommend_specs(self, *, embedded: bool = False) -> Specs:
        """Inputs of `recommend`, or of `recommend_embedded`."""
        options = {"diversity": tf.TensorSpec(ONE, tf.float32), "explain": tf.TensorSpec(ONE, tf.bool)}
        return self._reader.specs(embedded=embedded) | self._retrieval.filter_specs() | options

    def recommend(self, **inputs: tf.Tensor) -> Tensors:
        """The best `serving.k` items: retrieved, filtered, ranked if there is a ranking model, and diversified.

        Implements the signature `recommend`, and `recommend_embedded`, which takes vectors from `encode_text` in place
        of texts.

        Args:
          **inputs: those in `recommend_specs`:
            - `history_*` [B, H, ...]: the user's events, oldest first.
            - `exclude_item_id` [B, E]: items that must not be returned.
            - `allowed_category` [B, C]: only items of one of these categories are returned; any item if all are "".
            - `diversity` [B], 0..1: 0 does not change the order; see `diversity.py`.
            - `explain` bool [B]: asks for `reason_history_position`. This runs the user tower once for each event of
              the history that it reads.
            - others [B, ...]: one value for each user.

        Returns:
          `item_id` string [B, K], best first, "" where fewer than K items are allowed.
          `score` float32 [B, K], of the ranking model, or of retrieval if there is none; 0 where there is no item.
          `retrieval_score` float32 [B, K]; 0 where there is no item.
          `reason_history_position` int32 [B, K], the column of the history whose event raises the item's retrieval
          score most; -1 if no event raises it, or `explain` is False.
        """
        share, explain = inputs.pop("diversity"), inputs.pop("explain")
        candidates = self._retrieval(inputs)
        items, scores = candidates.items, candidates.scores
        ranked = scores if self._ranking is None else self._ranking.order(candidates)
        count = min(self._config.serving.k, self._retrieval.depth)
        ranked, position = diversity.top_candidates(ranked, lambda: self._catalogue.vectors(items), share, count)
        top_items, top_scores = tf.gather(items, position, batch_dims=1), tf.gather(scores, position, batch_dims=1)
        columns = self._explanations.influential_history_columns(
            inputs, candidates.users.features, top_items, top_scores, explain
        )
        answer = self._catalogue.answer(top_items, score=ranked, retrieval_score=top_scores)
        return answer | {"reason_history_position": columns}

    def retrieve(self, **inputs: tf.Tensor) -> Tensors:
        """The candidates of `recommend`, before ranking, in the order of retrieval.

        Returns `item_id` and `score` (the retrieval score), as `recommend` does, but with max(`ranking.candidates`,
        `serving.k`) columns.
        """
        candidates = self._retrieval(inputs)
        return self._catalogue.answer(candidates.items, score=candidates.scores)

    def rank(self, **inputs: tf.Tensor) -> Tensors:
        """Scores the caller's candidates as `recommend` would. They stay in the caller's order, and none is filtered
        out.

        Args:
          **inputs: the inputs that describe a user, and `candidate_item_id` [B, N].

        Returns:
          `score` and `retrieval_score` float32 [B, N]. If the ranking model was trained on ratings, also `rating`, the
          predicted rating, and `liked`, the probability that the rating is at least `ranking.liked_rating`. All are
          `NO_SCORE`, the lowest float32, where the item is not in the catalogue.
        """
        items = tf.cast(self._catalogue.indices(inputs.pop("candidate_item_id")), tf.int32)  # [B, N]
        users = self._users(inputs)
        retrieval_scores = tf.linalg.matvec(self._catalogue.vectors(items), users.vectors)
        retrieval_scores = tf.where(items != UNKNOWN_ITEM, retrieval_scores, -np.inf)
        scores = {"score": retrieval_scores, "retrieval_score": retrieval_scores}
        if self._ranking is not None:
            outputs = self._ranking.score(users, retrieval_scores, items)
            scores["score"] = outputs.pop("logits")
            scores |= outputs
        return {name: tf.where(items != UNKNOWN_ITEM, value, NO_SCORE) for name, value in scores.items()}

    def encode_user(self, **inputs: tf.Tensor) -> Tensors:
        """`embedding` float32 [B, dim] of users. The dot product with an item's embedding is the retrieval score."""
        return {"embedding": self._users(inputs).vectors}

    def encode_item(self, **inputs: tf.Tensor) -> Tensors:
        """`embedding` float32 [B, dim] of items, of the catalogue or new ones: see `ItemVectors.encode`."""
        return {"embedding": self._item_vectors.encode(**inputs)}

    def similar_items(self, **inputs: tf.Tensor) -> Tensors:
        """The items most similar to each item, best first: `item_id` string and `score` float32 [B, K], padded with ""
        and 0. See `ItemVectors.similar`.
        """
        cosines, items = self._item_vectors.similar(**inputs, k=self._config.serving.k)
        return self._catalogue.answer(items, score=cosines)

    def encode_text(self, text: tf.Tensor) -> Tensors:
        """`embedding` float32 [B, width] of `text` string [B]: unit length; zeros for an empty text."""
        assert self._encode_text is not None
        return {"embedding": self._encode_text(text)}


def _signature(function: Callable[..., Tensors], specs: Specs, rows: str = "user_id") -> Any:
    """The concrete function of a signature, with checks of its inputs."""
    named = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()}
    # With `**inputs`, the graph's inputs get the names in `specs`, whatever the parameters of `function` are called.
    checked = tf.function(lambda **inputs: function(**check_inputs(inputs, rows)), autograph=False)
    return checked.get_concrete_function(**named)
