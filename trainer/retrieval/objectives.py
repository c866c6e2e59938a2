"""What retrieval training minimises: one class for each way to weigh the next item against the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.tables import UNKNOWN_ITEM, ItemTable
from trainer.retrieval.losses.full_softmax import full_softmax
from trainer.retrieval.losses.sampled import sampled_loss, softmax_task, triplet_task
from trainer.retrieval.negatives import MixedNegatives
from trainer.towers.item import ItemTower
from trainer.training.precision import FLOAT32
from trainer.training.randomness import RandomStream

Features = dict[str, tf.Tensor]
QueriesOf = Callable[[Features, tf.Tensor], tf.Tensor]


class Objective(Protocol):
    def __call__(
        self, item_tower: ItemTower, queries_of: QueriesOf, features: Features, targets: tf.Tensor, training: bool
    ) -> tf.Tensor:
        """Mean loss of a batch.

        Args:
          item_tower: with its catalogue attached.
          queries_of: (features, item vectors float [m, dim], of which `features["item_index"]` names the rows) ->
            float [T, dim], the user at each position that has a target.
          features: of an all-positions batch.
          targets: int32 [T], the items to predict.
          training: whether dropout applies.

        Returns:
          float32 scalar.
        """


class FullSoftmax:
    """Softmax over the catalogue.

    Items nobody touched in training are not held against anybody. Where only ids are known, the unknown item is:
    otherwise nothing would tell its vector, which all of them share, where to lie.

    Where an item is not the one to predict, it weighs c / (c + smoothing · mean c), c its train events. Plain softmax
    teaches how rare a rare item is; weighted, it believes so as if each item had those events more (additive
    smoothing), and what is new is not pushed down for having been new.

    Where purchases repeat, but not at once (`data.exclude_recent_seconds`), what a user takes around an event is not
    held against it: it will not be ranked there, and to push it down would push down what is like it.

    Args:
      items: the catalogue.
      content: whether anything but ids is known of the items.
      temperature: of the softmax.
      smoothing: of the items' popularity, in shares of its mean; 0 for none.
      products: type of the matrix products.
      spared_seconds: what a user takes within so many seconds of an event is not held against it; 0: all is.
    """

    def __init__(
        self,
        items: ItemTable,
        content: bool,
        temperature: float,
        smoothing: float,
        products: tf.DType,
        spared_seconds: int = 0,
    ) -> None:
        rows = np.flatnonzero(items.train_count > 0) + 1
        if not content:
            rows = np.concatenate([[UNKNOWN_ITEM], rows])
        row_of = np.zeros(len(items) + 1, np.int32)
        row_of[rows] = np.arange(len(rows))
        self._candidates, self._row_of = tf.constant(rows.astype(np.int32)), tf.constant(row_of)
        self._temperature, self._products, self._spared_seconds = temperature, products, spared_seconds
        events = np.concatenate([[0], items.train_count])[rows]
        added = smoothing * events[events > 0].mean() if events.any() else 0.0
        weights = np.where(events > 0, events / np.maximum(events + added, 1e-9), 1.0)
        self._weights = tf.constant(weights.astype(np.float32))

    def __call__(
        self, item_tower: ItemTower, queries_of: QueriesOf, features: Features, targets: tf.Tensor, training: bool
    ) -> tf.Tensor:
        vectors = item_tower.all_vectors(training)  # [n + 1, dim]
        queries = queries_of(features, vectors)
        candidates = tf.gather(vectors, self._candidates)
        rows = tf.gather(self._row_of, targets)
        spared = self._spared(features) if self._spared_seconds else None
        return full_softmax(queries, candidates, rows, self._temperature, self._weights, self._products, spared)

    def _spared(self, features: Features) -> tf.Tensor:
        """Rows of the candidates that each target's user takes around it, -1 elsewhere: int32 [T, P]."""
        place = tf.where(features["target"] != UNKNOWN_ITEM)  # [T, 2]
        items = tf.gather(features["item_index"], place[:, 0])  # [T, P]
        times = features["timestamp"]
        apart = tf.abs(tf.gather(times, place[:, 0]) - tf.gather_nd(times, place)[:, tf.newaxis])
        near = (items != UNKNOWN_ITEM) & (apart < self._spared_seconds)
        return tf.where(near, tf.gather(self._row_of, items), -1)


class Sampled:
    """A loss over in-batch and uniformly drawn candidates; the item tower runs on the items that a batch needs.

    Args:
      negatives: where candidates come from.
      task: see `sampled_losses`.
      corrected: whether the task's scores are corrected for how candidates were sampled.
    """

    def __init__(self, negatives: MixedNegatives, task: Callable[..., tf.Tensor], corrected: bool) -> None:
        self._negatives, self._task = negatives, task
        self._probability = negatives.probability if corrected else None

    def __call__(
        self, item_tower: ItemTower, queries_of: QueriesOf, features: Features, targets: tf.Tensor, training: bool
    ) -> tf.Tensor:
        at_once = self._negatives.at_once(tf.size(targets))
        drawn = self._negatives.draw(at_once)  # [D]
        index = features["item_index"]
        unique, place = tf.unique(tf.concat([tf.reshape(index, [-1]), targets, drawn], axis=0))
        vectors = item_tower.vectors(unique, training)  # [distinct, dim]
        sizes = [tf.size(index), tf.size(targets), tf.size(drawn)]
        in_history, in_targets, in_drawn = tf.split(place, sizes)
        queries = queries_of({**features, "item_index": tf.reshape(in_history, tf.shape(index))}, vectors)
        return sampled_loss(
            self._task,
            queries,
            tf.gather(vectors, in_targets),
            targets,
            tf.gather(vectors, in_drawn),
            drawn,
            at_once,
            self._probability,
        )


def objective(
    config: Config, items: ItemTable, content: bool, stream: RandomStream, products: tf.DType = FLOAT32
) -> Objective:
    """The configured objective; `auto` weighs against the whole catalogue where that fits.

    Args:
      config: the configuration.
      items: the catalogue.
      content: whether anything but ids is known of the items.
      stream: source of randomness.
      products: type of the softmax's matrix products; sampled losses are float32.
    """
    settings = config.retrieval
    loss = settings.loss
    if loss == "auto":
        loss = "full_softmax" if len(items) <= settings.full_softmax_limit else "sampled_softmax"
    if loss == "full_softmax":
        smoothing, seconds = settings.popularity_smoothing, config.data.exclude_recent_seconds
        return FullSoftmax(items, content, settings.temperature, smoothing, products, seconds)
    negatives = MixedNegatives(items, settings.sampled_negatives, stream)
    if loss == "triplet":
        return Sampled(negatives, triplet_task(settings.hard_negatives), corrected=False)
    return Sampled(negatives, softmax_task(settings.temperature, settings.hard_negatives), corrected=True)
