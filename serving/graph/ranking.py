"""The second step of a recommendation: the ranking model scores the candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from serving.graph.catalogue import Catalogue
from serving.graph.retrieval import Candidates
from serving.graph.specs import Tensors
from serving.graph.user_encoder import Users


class Ranking:
    """Scores candidates with the ranking model. All signatures share one function, so the graph holds the model once.

    Args:
      model: the ranking model.
      catalogue: the items.
      count: largest number of a user's candidates that `order` scores (`ranking.candidates`).
    """

    def __init__(self, model: Any, catalogue: Catalogue, count: int) -> None:
        self._count = count
        # No input signature, for the reason given in `UserEncoder`.
        self._model = tf.function(
            lambda inputs: model.score(inputs, catalogue.index.read_vectors()), autograph=False, reduce_retracing=True
        )

    def order(self, candidates: Candidates) -> tf.Tensor:
        """Scores [B, N] that order all candidates.

        The first `count` candidates have the ranking model's logits. The others get lower scores, in the order of
        retrieval.
        """
        count, scores = self._count, candidates.scores
        logits = self.score(candidates.users, scores[:, :count], candidates.items[:, :count])["logits"]
        lowest = tf.reduce_min(logits, axis=1, keepdims=True)
        rest = lowest + scores[:, count:] - scores[:, count - 1 : count]
        # -inf - -inf is NaN. This happens only in rows with fewer than `count` candidates, where `rest` has none.
        rest = tf.where(tf.math.is_finite(scores[:, count:]), rest, -np.inf)
        return tf.concat([logits, rest], axis=1)

    def score(self, users: Users, scores: tf.Tensor, items: tf.Tensor) -> Tensors:
        """The ranking model's outputs, [B, N] each.

        Args:
          users: the users.
          scores: retrieval scores [B, N] of the candidates; -inf where there is no candidate.
          items: int32 [B, N].
        """
        features = users.features
        inputs: Tensors = {name: features[name] for name in ("item_index", "length", "rating") if name in features}
        inputs |= {"user_vector": users.vectors, "candidate": items, "retrieval_score": scores}
        return self._model(inputs)
