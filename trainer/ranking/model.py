"""The ranking model, which re-orders the items that retrieval returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from trainer.config import Config
from trainer.graphs import AnyShapeFunction
from trainer.ranking.candidate_features import NAMES, CandidateFeatures
from trainer.towers.dropout import Dropout
from trainer.training.randomness import RandomStream

RECENCY_STEPS = 64  # history events further back than this share one attention bias
RATING_PARTS = ("rating_head", "liked_head", "rating_weights", "liked_weights")
RATING_LOSS_WEIGHT = 0.1  # weight of the two rating losses; the softmax over candidates has weight 1
HEAD_ONLY = (0.0, 1.0, 0.0, 0.0)  # weights of `_rating_features` under which the head's output is the prediction


class RankingModel(tfrs.Model):
    """Scores candidates by a network over vectors, followed by a linear model over the network's logit and features.

    The network's logit is retrieval score * learned scale + residual. The residual starts at zero: an untrained model
    ranks as retrieval does. DCN-v2 cross layers (Wang et al., 2021) compute the residual from the vectors of user and
    candidate, the candidate's attention over the history (Zhou et al., 2018, with scaled dot products), the retrieval
    score and popularity. If the data has ratings, two more heads on the same layers predict the user's rating of the
    candidate, and the probability that it is at least `ranking.liked_rating`.

    Lists are ordered by a linear combination of that logit, the retrieval score and `CandidateFeatures`. On train
    events these inputs look better than on new ones: the network and the retrieval model were trained on them, and the
    features were counted on them. The weights of the combination are therefore fitted to held-out events
    (`set_combination`). Predicted ratings are linear combinations of the network's heads and of the rating biases of
    item and user; their weights are fitted to held-out events as well (`set_rating_weights`). Until the weights are
    set, only the network's outputs count.

    Args:
      config: the configuration.
      dim: width of the retrieval model's vectors.
      features: computes the features of candidates.
      rated: whether the data has ratings.
      rating_mean, rating_std: of the train split.
    """

    def __init__(
        self,
        config: Config,
        dim: int,
        features: CandidateFeatures,
        rated: bool,
        rating_mean: float,
        rating_std: float,
    ) -> None:
        super().__init__()
        self.config, self.dim, self.rated = config, dim, rated
        self.rating_mean, self.rating_std = rating_mean, rating_std
        self.stream = RandomStream(config.seed)
        self.candidate_features = features
        self._set_item_vectors(None)

        def dense(units: int, name: str, width: int, zeros: bool = False) -> tf.keras.layers.Dense:
            seed = self.stream.initializer_seed()
            initializer = "zeros" if zeros else tf.keras.initializers.GlorotUniform(seed)
            layer = tf.keras.layers.Dense(units, kernel_initializer=initializer, name=name)
            layer.build([None, width])
            return layer

        self.score_scale = tf.Variable(1.0 / config.retrieval.temperature, name="score_scale")
        self.attention_query, self.attention_key = dense(dim, "attention_query", dim), dense(dim, "attention_key", dim)
        self.recency = tf.Variable(tf.zeros([RECENCY_STEPS]), name="recency")
        width = 4 * dim + 2
        self.norm = tf.keras.layers.LayerNormalization(epsilon=1e-6, name="norm")
        self.norm.build([None, None, 4 * dim])
        self.cross = []
        for i in range(2):
            seed = self.stream.initializer_seed()
            layer = tfrs.layers.dcn.Cross(
                projection_dim=max(1, dim // 2),
                kernel_initializer=tf.keras.initializers.GlorotUniform(seed),
                name=f"cross_{i}",
            )
            layer(tf.zeros([1, width]), tf.zeros([1, width]))
            self.cross.append(layer)
        self.hidden = dense(dim, "hidden", width)
        self.dropout = Dropout(config.ranking.dropout, self.stream, name="dropout")
        self.residual = dense(1, "residual", dim, zeros=True)
        if rated:
            self.rating_head = dense(1, "rating_head", dim, zeros=True)
            self.liked_head = dense(1, "liked_head", dim, zeros=True)
            self.rating_weights = tf.Variable(HEAD_ONLY, trainable=False, name="rating_weights")
            self.liked_weights = tf.Variable(HEAD_ONLY, trainable=False, name="liked_weights")
        self.combination = tf.Variable([1.0] + [0.0] * (1 + len(NAMES)), trainable=False, name="combination")

    def attach(self, item_vectors: tf.Tensor) -> None:
        """Attaches the catalogue's vectors [n + 1, dim], for `compute_loss`, `calibration_inputs` and `reorder`."""
        self._set_item_vectors(tf.convert_to_tensor(item_vectors))

    def _set_item_vectors(self, item_vectors: tf.Tensor | None) -> None:
        self._item_vectors = item_vectors
        # Graphs hold the item vectors as a constant: other vectors need new graphs.
        self._reorder_graph = AnyShapeFunction(self._reorder)
        self._calibration_graph = AnyShapeFunction(self._calibration_inputs)

    def score(self, inputs: Mapping[str, tf.Tensor], item_vectors: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores candidates.

        Args:
          inputs: `user_vector` float32 [B, dim]; `item_index` int32 [B, H], the history, oldest first, padded on the
            right; `length` int32 [B], its number of valid events; `candidate` int32 [B, N], item indices;
            `retrieval_score` float32 [B, N], -inf where there is no candidate; optionally `rating` float32 [B, H], the
            history's ratings on the data's own scale, NaN for none.
          item_vectors: float32 [n + 1, dim].

        Returns:
          `logits` float32 [B, N], -inf where the retrieval score is; with ratings also `rating` float32 [B, N], on the
          data's own scale, and `liked` float32 [B, N], a probability.
        """
        hidden = self._hidden(inputs, item_vectors, training=False)
        logits = tf.linalg.matvec(self._scalars(inputs, hidden), self.combination)
        outputs = {"logits": tf.where(tf.math.is_finite(inputs["retrieval_score"]), logits, -float("inf"))}
        if self.rated:
            rating = tf.linalg.matvec(self._rating_features(inputs, self.rating_head(hidden)), self.rating_weights)
            outputs["rating"] = rating * self.rating_std + self.rating_mean
            liked = tf.linalg.matvec(self._rating_features(inputs, self.liked_head(hidden)), self.liked_weights)
            outputs["liked"] = tf.sigmoid(liked)
        return outputs

    def calibration_inputs(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The inputs of the linear combinations, whose weights are fitted to held-out events.

        Args:
          batch: as for `compute_loss`.

        Returns:
          `scalars` float32 [B, N, 2 + features], inputs of the combination that orders a list, NaN where there is no
          candidate; with ratings also `rating` and `liked` float32 [B, 4], inputs of the first candidate's predicted
          rating and of the logit that it is liked.
        """
        return self._calibration_graph(dict(batch))

    def _calibration_inputs(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        hidden = self._hidden(batch, self._attached(), training=False)
        present = tf.math.is_finite(batch["retrieval_score"])[..., tf.newaxis]
        outputs = {"scalars": tf.where(present, self._scalars(batch, hidden), np.nan)}
        if self.rated:
            first = {**batch, "candidate": batch["candidate"][:, :1]}
            outputs["rating"] = self._rating_features(first, self.rating_head(hidden[:, :1]))[:, 0]
            outputs["liked"] = self._rating_features(first, self.liked_head(hidden[:, :1]))[:, 0]
        return outputs

    def set_combination(self, weights: np.ndarray) -> None:
        """Sets the weights [2 + features] of the combination that orders a list; see `calibration_inputs`."""
        self.combination.assign(weights.astype(np.float32))

    def set_rating_weights(self, rating: np.ndarray, liked: np.ndarray) -> None:
        """Sets the weights of predicted ratings.

        Args:
          rating: [4], weights of `rating` (see `calibration_inputs`). The weighted sum is a rating in standard
            deviations from the mean.
          liked: [4], weights of `liked`. The weighted sum is a logit.
        """
        self.rating_weights.assign(rating.astype(np.float32))
        self.liked_weights.assign(liked.astype(np.float32))

    def _rating_features(self, inputs: Mapping[str, tf.Tensor], head: tf.Tensor) -> tf.Tensor:
        """Inputs of a predicted rating: 1, a head's output [B, N, 1] and the two rating biases: [B, N, 4]."""
        rating = inputs.get("rating")
        if rating is not None:
            rating = (rating - self.rating_mean) / self.rating_std
        biases = self.candidate_features.rating_biases(
            inputs["item_index"], rating, inputs["length"], inputs["candidate"]
        )
        return tf.concat([tf.ones_like(head), head, biases], axis=-1)

    def _scalars(self, inputs: Mapping[str, tf.Tensor], hidden: tf.Tensor) -> tf.Tensor:
        """[B, N, 2 + features]: the network's logit, the retrieval score, the features."""
        score = _finite(inputs["retrieval_score"])
        scores = tf.stack([self._network_logits(score, hidden), score], axis=-1)
        features = self.candidate_features(inputs["item_index"], inputs["length"], inputs["candidate"])
        return tf.concat([scores, features], axis=-1)

    def _network_logits(self, score: tf.Tensor, hidden: tf.Tensor) -> tf.Tensor:
        return score * self.score_scale + self.residual(hidden)[..., 0]

    def _hidden(self, inputs: Mapping[str, tf.Tensor], item_vectors: tf.Tensor, training: bool) -> tf.Tensor:
        """The last hidden layer, the input of all heads: [B, N, dim]."""
        candidate = tf.gather(item_vectors, inputs["candidate"])  # [B, N, dim]
        history = tf.gather(item_vectors, inputs["item_index"])  # [B, H, dim]
        user = tf.ensure_shape(inputs["user_vector"], [None, self.dim])
        user = tf.broadcast_to(user[:, tf.newaxis], tf.shape(candidate))
        attended = self._attend(candidate, history, inputs["length"])  # [B, N, dim]
        popularity = self.candidate_features.popularity(inputs["candidate"])
        scalars = tf.stack([_finite(inputs["retrieval_score"]), popularity], axis=-1)  # [B, N, 2]
        vectors = self.norm(tf.concat([user, candidate, user * candidate, attended * candidate], axis=-1))
        x = first = tf.concat([vectors, scalars], axis=-1)  # [B, N, 4 dim + 2]
        for layer in self.cross:
            x = layer(first, x)
        return self.dropout(tf.nn.gelu(self.hidden(x), approximate=True), training=training)

    def _attend(self, candidate: tf.Tensor, history: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        """Mean of the history's vectors, weighted by each candidate's attention: [B, N, dim]; 0 without a history."""
        query, key = self.attention_query(candidate), self.attention_key(history)
        logits = tf.matmul(query, key, transpose_b=True) / self.dim**0.5  # [B, N, H]
        later_events = length[:, tf.newaxis] - 1 - tf.range(tf.shape(history)[1])  # [B, H], 0 = the last event
        bias = tf.gather(self.recency, tf.clip_by_value(later_events, 0, RECENCY_STEPS - 1))
        valid = (later_events >= 0)[:, tf.newaxis]  # [B, 1, H]
        logits = tf.where(valid, logits + bias[:, tf.newaxis], -1e9)
        weights = tf.where(valid, tf.nn.softmax(logits), 0.0)
        return tf.matmul(weights, history)

    def compute_loss(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Listwise softmax over the network's logits, plus the loss of the first candidate's predicted ratings.

        Args:
          inputs: as for `score`; the first candidate is the chosen item. With ratings also `target_rating` float32
            [B], the rating of the chosen item, NaN for none.
          training: whether dropout is active.
        """
        hidden = self._hidden(inputs, self._attached(), training)
        present = tf.math.is_finite(inputs["retrieval_score"])
        # The mask is finite because the softmax's gradient at -inf is NaN.
        logits = tf.where(present, self._network_logits(_finite(inputs["retrieval_score"]), hidden), -1e9)
        first = tf.zeros([tf.shape(logits)[0]], tf.int32)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(first, logits))
        if self.rated:
            loss += RATING_LOSS_WEIGHT * self._rating_loss(hidden, inputs["target_rating"])
        return loss

    def _rating_loss(self, hidden: tf.Tensor, target_rating: tf.Tensor) -> tf.Tensor:
        """Mean over rated examples of the rating's squared error plus the cross-entropy of being liked.

        The predictions are those of the first candidate: hidden float32 [B, N, dim], target_rating float32 [B].
        """
        rated = tf.math.is_finite(target_rating)
        rating = tf.where(rated, target_rating, 0.0)
        squared_error = (self.rating_head(hidden[:, 0])[:, 0] - (rating - self.rating_mean) / self.rating_std) ** 2
        liked = tf.cast(rating >= self.config.ranking.liked_rating, tf.float32)
        cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(liked, self.liked_head(hidden[:, 0])[:, 0])
        count = tf.reduce_sum(tf.cast(rated, tf.float32))
        total = tf.reduce_sum(tf.where(rated, squared_error + cross_entropy, 0.0))
        return tf.math.divide_no_nan(total, count)

    def _attached(self) -> tf.Tensor:
        if self._item_vectors is None:
            raise ValueError("`attach` should be called before candidates are scored by index")
        return self._item_vectors

    def reorder(
        self,
        batch: Mapping[str, tf.Tensor],
        user_vector: tf.Tensor,
        scores: tf.Tensor,
        candidates: tf.Tensor,
        count: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Re-orders the first `count` of each list; the rest keep their order and come after them.

        Args:
          batch: `item_index` int32 [B, H] and `length` int32 [B].
          user_vector: float32 [B, dim].
          scores: float32 [B, K], retrieval scores.
          candidates: int32 [B, K], the retrieved item indices.
          count: int32 scalar.

        Returns:
          (float32 [B, K] logits, int32 [B, K] item indices), best first.
        """
        return self._reorder_graph(dict(batch), user_vector, scores, candidates, count)

    def _reorder(
        self,
        batch: Mapping[str, tf.Tensor],
        user_vector: tf.Tensor,
        scores: tf.Tensor,
        candidates: tf.Tensor,
        count: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        head, tail = candidates[:, :count], candidates[:, count:]
        inputs = {"user_vector": user_vector, "candidate": head, "retrieval_score": scores[:, :count]}
        logits = self.score({**batch, **inputs}, self._attached())["logits"]
        order = tf.argsort(logits, direction="DESCENDING", stable=True)
        logits = tf.gather(logits, order, batch_dims=1)
        head = tf.gather(head, order, batch_dims=1)
        # The tail is not scored. Its logits continue below the head's lowest one, spaced as the retrieval scores are.
        tail_logits = logits[:, -1:] + (scores[:, count:] - scores[:, :count][:, -1:])
        tail_logits = tf.where(tf.math.is_finite(scores[:, count:]), tail_logits, -float("inf"))
        return tf.concat([logits, tail_logits], axis=1), tf.concat([head, tail], axis=1)

    def for_catalogue(self, rows: np.ndarray) -> RankingModel:
        """A copy of the model for another catalogue; see `CandidateFeatures.for_catalogue`."""
        features = self.candidate_features.for_catalogue(rows)
        copy = RankingModel(self.config, self.dim, features, self.rated, self.rating_mean, self.rating_std)
        weights = self.weight_parts()
        for name, part in copy.weight_parts().items():
            if isinstance(part, tf.Variable):
                part.assign(weights[name])
            else:
                for variable, value in zip(part.variables, weights[name].variables, strict=True):
                    variable.assign(value)
        return copy

    def weight_parts(self) -> dict[str, Any]:
        """The variables and layers that are saved, by their names in the checkpoint."""
        names = ["score_scale", "attention_query", "attention_key", "recency", "norm", "hidden", "residual"]
        names += ["combination", *(RATING_PARTS if self.rated else [])]
        parts = {name: getattr(self, name) for name in names}
        return parts | {f"cross_{i}": layer for i, layer in enumerate(self.cross)}


def _finite(retrieval_score: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.math.is_finite(retrieval_score), retrieval_score, 0.0)
