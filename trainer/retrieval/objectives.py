"""Training objectives of the retrieval model: softmax over the catalogue, or a loss over sampled candidates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.tables import UNKNOWN_ITEM, ItemTable
from trainer.retrieval.losses.full_softmax import full_softmax
from trainer.retrieval.losses.sampled import Candidates, Task, sampled_loss
from trainer.retrieval.losses.sampled_softmax import softmax_task
from trainer.retrieval.losses.triplet import triplet_task
from trainer.retrieval.negatives import MixedNegatives
from trainer.towers.item import ItemTower
from trainer.training.precision import FLOAT32
from trainer.training.randomness import RandomStream

Features = dict[str, tf.Tensor]
EncodeQueries = Callable[[Features, tf.Tensor], tf.Tensor]


class Objective(Protocol):
    def __call__(
        self,
        item_tower: ItemTower,
        encode_queries: EncodeQueries,
        features: Features,
        targets: tf.Tensor,
        training: bool,
    ) -> tf.Tensor:
        """Mean loss of a batch.

        Args:
          item_tower: with its catalogue attached.
          encode_queries: (features, item vectors float [m, dim]) -> float [T, dim], the user vector at each position
            that has a target. `features["item_index"]` should hold rows of these item vectors.
          features: of an all-positions batch.
          targets: int32 [T], the items to predict.
          training: whether dropout applies.

        Returns:
          float32 scalar.
        """


class FullSoftmax:
    """Softmax over the items that have train events.

    Items without train events are not negatives. If the items have ids only, the unknown item is a negative too: all
    items without train events share its vector, which would not be trained otherwise.

    A candidate that is not the target has weight c / (c + smoothing · mean c), where c is its number of train events.
    Under a plain softmax, scores follow the items' frequencies, and rare items get low scores. With these weights,
    scores follow frequencies to which `smoothing` · mean c events were added for each item (additive smoothing), so
    that rare and new items lose less.

    With `exclude_seconds`, items that the user chose shortly before or after the target event are not its negatives.
    These items cannot be recommended at that time, and negatives also lower the scores of similar items.

    Args:
      items: the catalogue.
      has_content: whether the item tower reads anything but ids.
      temperature: of the softmax.
      smoothing: number of events added to each item, as a multiple of the mean number; 0 for none.
      products: type of the matrix products.
      exclude_seconds: items of the user's events less than this many seconds before or after the target event are not
        negatives (`data.exclude_recent_seconds`); 0: no item is left out.
    """

    def __init__(
        self,
        items: ItemTable,
        has_content: bool,
        temperature: float,
        smoothing: float,
        products: tf.DType,
        exclude_seconds: int = 0,
    ) -> None:
        candidates = np.flatnonzero(items.train_count > 0) + 1
        if not has_content:
            candidates = np.concatenate([[UNKNOWN_ITEM], candidates])
        row_of = np.zeros(len(items) + 1, np.int32)  # item -> row among the candidates
        row_of[candidates] = np.arange(len(candidates))
        self._candidates, self._row_of = tf.constant(candidates.astype(np.int32)), tf.constant(row_of)
        self._temperature, self._products, self._exclude_seconds = temperature, products, exclude_seconds
        events = np.concatenate([[0], items.train_count])[candidates]
        added = smoothing * events[events > 0].mean() if events.any() else 0.0
        weights = np.where(events > 0, events / np.maximum(events + added, 1e-9), 1.0)
        self._weights = tf.constant(weights.astype(np.float32))

    def __call__(
        self,
        item_tower: ItemTower,
        encode_queries: EncodeQueries,
        features: Features,
        targets: tf.Tensor,
        training: bool,
    ) -> tf.Tensor:
        vectors = item_tower.all_vectors(training)  # [n + 1, dim]
        queries = encode_queries(features, vectors)
        candidates = tf.gather(vectors, self._candidates)
        rows = tf.gather(self._row_of, targets)
        excluded = self._excluded_rows(features) if self._exclude_seconds else None
        return full_softmax(queries, candidates, rows, self._temperature, self._weights, self._products, excluded)

    def _excluded_rows(self, features: Features) -> tf.Tensor:
        """For each target, rows of the candidates that are not its negatives: int32 [T, P], padded by -1."""
        position = tf.where(features["target"] != UNKNOWN_ITEM)  # [T, 2]
        items = tf.gather(features["item_index"], position[:, 0])  # [T, P]
        times = features["timestamp"]
        target_times = tf.gather_nd(times, position)[:, tf.newaxis]
        seconds = tf.abs(tf.gather(times, position[:, 0]) - target_times)  # [T, P]
        is_near = (items != UNKNOWN_ITEM) & (seconds < self._exclude_seconds)
        return tf.where(is_near, tf.gather(self._row_of, items), -1)


class Sampled:
    """A loss over in-batch and uniform negatives. The item tower runs on the items of the batch only.

    Args:
      negatives: samples the negatives.
      task: from `losses.sampled_softmax` or `losses.triplet`.
      corrected: whether the task's scores are corrected for the candidates' sampling probabilities.
    """

    def __init__(self, negatives: MixedNegatives, task: Task, corrected: bool) -> None:
        self._negatives, self._task = negatives, task
        self._probability = negatives.probability if corrected else None

    def __call__(
        self,
        item_tower: ItemTower,
        encode_queries: EncodeQueries,
        features: Features,
        targets: tf.Tensor,
        training: bool,
    ) -> tf.Tensor:
        queries_per_chunk = self._negatives.queries_per_chunk(tf.size(targets))
        negatives = self._negatives.sample(queries_per_chunk)
        history = features["item_index"]
        ids = [tf.reshape(history, [-1]), targets, negatives]
        distinct, rows = tf.unique(tf.concat(ids, axis=0))
        vectors = item_tower.vectors(distinct, training)  # [distinct, dim]
        history_rows, target_rows, negative_rows = tf.split(rows, [tf.size(part) for part in ids])
        history_rows = tf.reshape(history_rows, tf.shape(history))
        queries = encode_queries({**features, "item_index": history_rows}, vectors)
        return sampled_loss(
            self._task,
            queries,
            Candidates(tf.gather(vectors, target_rows), targets),
            Candidates(tf.gather(vectors, negative_rows), negatives),
            queries_per_chunk,
            self._probability,
        )


def make_objective(
    config: Config, items: ItemTable, has_content: bool, stream: RandomStream, products: tf.DType = FLOAT32
) -> Objective:
    """The objective for `config.retrieval.loss`.

    `auto` is `full_softmax` for catalogues of at most `config.retrieval.full_softmax_limit` items, otherwise
    `sampled_softmax`.

    Args:
      config: the configuration.
      items: the catalogue.
      has_content: whether the item tower reads anything but ids.
      stream: source of randomness.
      products: type of the softmax's matrix products; sampled losses are float32.
    """
    settings = config.retrieval
    loss = settings.loss
    if loss == "auto":
        loss = "full_softmax" if len(items) <= settings.full_softmax_limit else "sampled_softmax"
    if loss == "full_softmax":
        smoothing, exclude_seconds = settings.popularity_smoothing, config.data.exclude_recent_seconds
        return FullSoftmax(items, has_content, settings.temperature, smoothing, products, exclude_seconds)
    negatives = MixedNegatives(items, settings.sampled_negatives, stream)
    if loss == "triplet":
        return Sampled(negatives, triplet_task(settings.hard_negatives), corrected=False)
    return Sampled(negatives, softmax_task(settings.temperature, settings.hard_negatives), corrected=True)
