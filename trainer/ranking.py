"""The ranking model: puts what retrieval returns into a better order."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from trainer.checkpoints import Checkpoints, key_of
from trainer.config import Config, ServingConfig
from trainer.data import ItemTable, SequenceTable, TextVectors
from trainer.directories import written_aside
from trainer.errors import TowersError
from trainer.evaluation import metrics
from trainer.evaluation.full_ranking import rank_all, ranks_in, targets_of
from trainer.fitting import adam, fit
from trainer.graphs import OneGraph
from trainer.progress import OnEpoch, OnUpdate
from trainer.ranking_examples import RankingExamples
from trainer.retrieval import RetrievalModel
from trainer.towers.transformer import Dropout, RandomStream

CONFIG, INPUTS, WEIGHTS, HISTORY = "config.json", "inputs.json", "weights", "history.json"
POPULARITY = "item_popularity.npy"
VERDICT = "verdict.json"
RECENCY_STEPS = 64  # history events further back than this share one attention bias
RATING_WEIGHT = 0.1  # of the rating's squared error beside the softmax over candidates


class RankingModel(tfrs.Model):
    """Target attention over the history and a cross network, on top of the retrieval score.

    logit = retrieval score * learned scale + residual. The residual starts at zero, so that an untrained model ranks as
    retrieval does. It is made from the vectors of user and candidate, what the candidate attends to in the history
    (Zhou et al., 2018, with scaled dot products), the retrieval score and popularity, through DCN-v2 cross layers
    (Wang et al., 2021). With ratings in the data, a second head predicts the candidate's.

    Args:
      config: the configuration.
      dim: width of the retrieval model's vectors.
      rated: whether the data has ratings.
      rating_mean, rating_std: of the train split.
    """

    def __init__(self, config: Config, dim: int, rated: bool, rating_mean: float, rating_std: float) -> None:
        super().__init__()
        self.config, self.dim, self.rated = config, dim, rated
        self.rating_mean, self.rating_std = rating_mean, rating_std
        self.stream = RandomStream(config.seed)
        self._item_vectors: tf.Tensor | None = None
        self._item_popularity: tf.Tensor | None = None
        self._reorder_graph = OneGraph(self._reorder, widths={1: dim})

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

    def attach(self, item_vectors: tf.Tensor, item_popularity: np.ndarray) -> None:
        """Gives the model the catalogue's vectors [n + 1, dim] and popularity [n + 1] for `compute_loss`, `reorder`."""
        self._item_vectors = tf.convert_to_tensor(item_vectors)
        self._item_popularity = tf.constant(item_popularity, tf.float32)
        self._reorder_graph = OneGraph(self._reorder, widths={1: self.dim})

    def score(self, features: Mapping[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
        """Scores candidates.

        Args:
          features: `user_vector` float32 [B, dim]; `history_vector` float32 [B, H, dim], oldest first, padded on the
            right; `length` int32 [B], valid events of it; `candidate_vector` float32 [B, N, dim]; `retrieval_score`
            float32 [B, N], -inf for a place without a candidate; `popularity` float32 [B, N], log(1 + train events).

        Returns:
          `logits` float32 [B, N], -inf where the retrieval score is; with ratings also `rating` float32 [B, N], on the
          data's own scale.
        """
        candidate = features["candidate_vector"]
        user = tf.broadcast_to(features["user_vector"][:, tf.newaxis], tf.shape(candidate))  # [B, N, dim]
        read = self._attend(candidate, features["history_vector"], features["length"])  # [B, N, dim]
        present = tf.math.is_finite(features["retrieval_score"])
        score = tf.where(present, features["retrieval_score"], 0.0)
        scalars = tf.stack([score, features["popularity"]], axis=-1)  # [B, N, 2]
        vectors = self.norm(tf.concat([user, candidate, user * candidate, read * candidate], axis=-1))
        x = first = tf.concat([vectors, scalars], axis=-1)  # [B, N, 4 dim + 2]
        for layer in self.cross:
            x = layer(first, x)
        hidden = self.dropout(tf.nn.gelu(self.hidden(x), approximate=True), training=training)
        logits = score * self.score_scale + self.residual(hidden)[..., 0]
        outputs = {"logits": tf.where(present, logits, -float("inf"))}
        if self.rated:
            outputs["rating"] = self.rating_head(hidden)[..., 0] * self.rating_std + self.rating_mean
        return outputs

    def _attend(self, candidate: tf.Tensor, history: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        """What each candidate reads from the history; zeros from an empty one."""
        query, key = self.attention_query(candidate), self.attention_key(history)
        logits = tf.matmul(query, key, transpose_b=True) / self.dim**0.5  # [B, N, H]
        back = length[:, tf.newaxis] - 1 - tf.range(tf.shape(history)[1])  # [B, H], 0 = the last event
        bias = tf.gather(self.recency, tf.clip_by_value(back, 0, RECENCY_STEPS - 1))
        valid = (back >= 0)[:, tf.newaxis]  # [B, 1, H]
        logits = tf.where(valid, logits + bias[:, tf.newaxis], -1e9)
        weights = tf.where(valid, tf.nn.softmax(logits), 0.0)
        return tf.matmul(weights, history)

    def features(
        self,
        batch: Mapping[str, tf.Tensor],
        user_vector: tf.Tensor,
        candidates: tf.Tensor,
        retrieval_score: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """The features of `score` for candidates given as item indices [B, N]; `attach` comes first."""
        if self._item_vectors is None:
            raise ValueError("`attach` should be called before candidates are scored by index")
        return {
            "user_vector": user_vector,
            "history_vector": tf.gather(self._item_vectors, batch["item_index"]),
            "length": batch["length"],
            "candidate_vector": tf.gather(self._item_vectors, candidates),
            "retrieval_score": retrieval_score,
            "popularity": tf.gather(self._item_popularity, candidates),
        }

    def compute_loss(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Listwise softmax with the first candidate as the one that was chosen, and its rating's squared error."""
        features = self.features(inputs, inputs["user_vector"], inputs["candidates"], inputs["retrieval_score"])
        outputs = self.score(features, training)
        # A finite mask: the softmax's gradient of -inf is not a number.
        logits = tf.maximum(outputs["logits"], -1e9)
        first = tf.zeros([tf.shape(logits)[0]], tf.int32)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(first, logits))
        if self.rated:
            rated = tf.math.is_finite(inputs["rating"])
            error = (outputs["rating"][:, 0] - tf.where(rated, inputs["rating"], 0.0)) / self.rating_std
            squares = tf.where(rated, error**2, 0.0)
            count = tf.reduce_sum(tf.cast(rated, tf.float32))
            loss += RATING_WEIGHT * tf.math.divide_no_nan(tf.reduce_sum(squares), count)
        return loss

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
          scores, candidates: what retrieval returned, float32 and int32 [B, K].
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
        logits = self.score(self.features(batch, user_vector, head, scores[:, :count]))["logits"]
        order = tf.argsort(logits, direction="DESCENDING", stable=True)
        logits = tf.gather(logits, order, batch_dims=1)
        head = tf.gather(head, order, batch_dims=1)
        # Logits of what was not scored: below the last one that was, as far as retrieval puts them below it.
        behind = logits[:, -1:] + (scores[:, count:] - scores[:, :count][:, -1:])
        behind = tf.where(tf.math.is_finite(scores[:, count:]), behind, -float("inf"))
        return tf.concat([logits, behind], axis=1), tf.concat([head, tail], axis=1)

    def save(self, directory: Path, history: list[dict[str, Any]]) -> None:
        """Writes what `load` and the export read. `directory` should exist and be empty."""
        (directory / CONFIG).write_text(self.config.to_json(), encoding="utf-8")
        inputs = {
            "dim": self.dim,
            "rated": self.rated,
            "rating_mean": self.rating_mean,
            "rating_std": self.rating_std,
        }
        (directory / INPUTS).write_text(json.dumps(inputs, indent=1), encoding="utf-8")
        (directory / HISTORY).write_text(json.dumps(history, indent=1), encoding="utf-8")
        if self._item_popularity is None:
            raise ValueError("`attach` should be called before the model is saved")
        np.save(directory / POPULARITY, self._item_popularity.numpy())
        tf.train.Checkpoint(**self._parts()).write(str(directory / WEIGHTS))

    def _parts(self) -> dict[str, Any]:
        names = ["score_scale", "attention_query", "attention_key", "recency", "norm", "hidden", "residual"]
        parts = {name: getattr(self, name) for name in [*names, *(["rating_head"] if self.rated else [])]}
        return parts | {f"cross_{i}": layer for i, layer in enumerate(self.cross)}


def popularity(items: ItemTable) -> np.ndarray:
    """The `popularity` of every item: log(1 + train events), float32 [n + 1]; 0 for the unknown item."""
    return np.concatenate([[0], np.log1p(items.train_count)]).astype(np.float32)


def train(
    config: Config,
    retrieval_model: RetrievalModel,
    items: ItemTable,
    train: SequenceTable,
    validation: SequenceTable | None,
    texts: TextVectors | None,
    directory: str | Path,
    on_epoch: OnEpoch | None = None,
    *,
    checkpoints: str | os.PathLike[str] | None = None,
    logs: str | os.PathLike[str] | None = None,
    on_update: OnUpdate | None = None,
) -> dict[str, Any]:
    """Trains a ranking model on what `retrieval_model` returns for the last train events of users, and writes it.

    Args:
      config: the configuration.
      retrieval_model: trained, and attached to `items` and `texts`; it is not changed.
      items, train, validation, texts: as for `trainer.retrieval.train`.
      directory: where to write; should not exist, or be empty.
      on_epoch, checkpoints, logs, on_update: as for `trainer.retrieval.train`.

    Returns:
      `{"epochs": [records], "best_epoch": ..., "retrieve": {"ndcg@10": ..., "hit_rate@10": ...}, "recommend": {...},
      "use_ranking": whether re-ranking wins on validation, "seconds": ...}`; without validation `retrieve` and
      `recommend` are None and `use_ranking` is False, for nothing speaks for it.

    Raises:
      TowersError: no user has two train events, or `directory` can not be written.
    """
    started = time.monotonic()
    settings = config.ranking
    item_vectors = retrieval_model.item_vectors()
    examples = RankingExamples(config, retrieval_model, items, train, item_vectors)
    rated = train.rating is not None
    model = RankingModel(
        config,
        int(item_vectors.shape[1]),
        rated,
        float(train.rating_mean) if rated else 0.0,
        float(train.rating_std) if rated else 1.0,
    )
    model.attach(item_vectors, popularity(items))
    validate = retrieve = None
    if validation is not None and int(validation.target_count.sum()):
        validate = _Validation(config, retrieval_model, items, validation, item_vectors)
        retrieve = validate(None)
    kept = None
    if checkpoints is not None and config.retrieval.checkpoint_minutes:
        key = key_of(config.to_json(), item_vectors.numpy(), train.offsets, train.item)
        kept = Checkpoints(checkpoints, config.retrieval.checkpoint_minutes, key)
    with written_aside(directory) as aside:
        model.compile(optimizer=adam(settings.learning_rate))
        history, best = fit(
            model,
            examples.batches,
            examples=lambda batch: len(batch["candidates"]),
            examples_per_epoch=len(examples),
            steps_per_epoch=-(-len(examples) // settings.batch_size),
            epochs=settings.epochs,
            patience=settings.epochs,
            validate=None if validate is None else lambda: validate(model),
            title="ranking",
            checkpoints=kept,
            logs=logs,
            on_epoch=on_epoch,
            on_update=on_update,
        )
        model.save(aside, history)
        recommend = {key: value for key, value in best.items() if "@" in key} or None
        wins = bool(retrieve and recommend and recommend["ndcg@10"] > retrieve["ndcg@10"])
        verdict = {"retrieve": retrieve, "recommend": recommend, "use_ranking": wins}
        (aside / VERDICT).write_text(json.dumps(verdict, indent=1), encoding="utf-8")
    if kept:
        kept.remove()
    return {
        "epochs": history,
        "best_epoch": best["best_epoch"],
        **verdict,
        "seconds": time.monotonic() - started,
    }


def is_used(config: ServingConfig, directory: str | Path) -> bool:
    """Whether `recommend` re-ranks with the model in `directory`: as `use_ranking` says, or if it won on validation.

    Raises:
      TowersError: the directory does not hold a model.
    """
    if config.use_ranking != "auto":
        return config.use_ranking == "always"
    try:
        return json.loads((Path(directory) / VERDICT).read_text(encoding="utf-8"))["use_ranking"]
    except (OSError, ValueError, KeyError) as error:
        raise TowersError(
            f"{directory}: holds no ranking model ({error}). Give a directory written by training."
        ) from None


def load(directory: str | Path) -> RankingModel:
    """The model that `train` wrote. `score` works at once; `reorder` after `attach`.

    Raises:
      TowersError: the directory does not hold a model.
    """
    directory = Path(directory)
    try:
        config = Config.from_json((directory / CONFIG).read_text(encoding="utf-8"))
        model = RankingModel(config, **json.loads((directory / INPUTS).read_text(encoding="utf-8")))
        tf.train.Checkpoint(**model._parts()).read(str(directory / WEIGHTS)).assert_consumed()
    except (OSError, ValueError, TypeError, tf.errors.OpError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise TowersError(
            f"{directory}: holds no ranking model ({reason}). Give a directory written by training."
        ) from None
    return model


class _Validation:
    def __init__(
        self,
        config: Config,
        retrieval: RetrievalModel,
        items: ItemTable,
        validation: SequenceTable,
        item_vectors: tf.Tensor,
    ) -> None:
        self._arguments = (config, retrieval, items, validation)
        self._item_vectors = item_vectors
        self._targets = targets_of(validation)
        self._users = np.flatnonzero(np.diff(self._targets.offsets))

    def __call__(self, ranking: RankingModel | None) -> dict[str, float]:
        ranked = rank_all(*self._arguments, k=10, users=self._users, ranking=ranking, item_vectors=self._item_vectors)
        values = metrics.from_ranks(ranks_in(ranked, self._targets), self._targets.offsets, [10])
        return {"ndcg@10": values["ndcg@10"], "hit_rate@10": values["hit_rate@10"]}
