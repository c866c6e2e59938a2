"""Features of candidates for the ranking model: co-occurrence with the history, popularity and ratings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from trainer.data.cooccurrence import coming_next, going_together
from trainer.data.tables import UNKNOWN_ITEM, ItemTable, SequenceTable

TABLES = "candidate_tables.npz"
# Each decay makes one "goes together" feature, in which an event followed by k others has weight decay^k: 1.0 weights
# the latest events equally, 0.3 mostly counts the last one.
DECAYS = (1.0, 0.8, 0.3)
LATEST = 20  # number of latest events whose items' neighbours are looked up
NEXT_EVENTS, NEXT_DECAY = 3, 0.6  # number of latest events for "comes next", and their decay
RECENT = 0.1  # the latest tenth of the train events counts as recent
ITEM_SHRINKAGE, USER_SHRINKAGE = 10.0, 5.0  # with this many ratings, a mean difference is halved

NAMES = (
    *(f"goes together, decay {decay:g}" for decay in DECAYS),
    "comes next",
    "popularity",
    "recent popularity",
    "own events",
    "own recency",
)


class CandidateFeatures(tf.Module):
    """Computes features of candidates from tables that are counted on the train split.

    Args:
      tables: `together_item`, `next_item` int32 [n + 1, M], `together_weight`, `next_weight` float16 [n + 1, M] (see
        `trainer.data.cooccurrence`), `popularity`, `recent` float32 [n + 1]; with ratings `rating` float32 [n + 1].
    """

    def __init__(self, tables: dict[str, np.ndarray]) -> None:
        super().__init__(name="candidate_features")
        self._tables = {name: tf.Variable(table, trainable=False, name=name) for name, table in tables.items()}

    @classmethod
    def count(cls, items: ItemTable, train: SequenceTable, neighbours: int) -> CandidateFeatures:
        """Counts the tables.

        Args:
          items: the catalogue.
          train: the train split.
          neighbours: largest number of neighbours of an item in each table.
        """
        together = going_together(len(items), train, neighbours)
        following = coming_next(len(items), train, neighbours)
        recent = np.zeros(len(items) + 1)
        if len(train.timestamp):
            is_recent = train.timestamp >= np.quantile(train.timestamp, 1 - RECENT)
            recent = np.bincount(train.item[is_recent], minlength=len(items) + 1).astype(np.float64)
            recent[UNKNOWN_ITEM] = 0
        tables = {
            "together_item": together.item,
            "together_weight": together.weight.astype(np.float16),
            "next_item": following.item,
            "next_weight": following.weight.astype(np.float16),
            "popularity": np.log1p(np.concatenate([[0], items.train_count])).astype(np.float32),
            "recent": np.log1p(recent).astype(np.float32),
        }
        if train.rating is not None:
            rated = np.isfinite(train.rating) & (train.item != UNKNOWN_ITEM)
            normalised = (train.rating[rated] - train.rating_mean) / train.rating_std
            count = np.bincount(train.item[rated], minlength=len(items) + 1)
            total = np.bincount(train.item[rated], weights=normalised, minlength=len(items) + 1)
            tables["rating"] = (total / (count + ITEM_SHRINKAGE)).astype(np.float32)
        return cls(tables)

    def save(self, directory: Path) -> None:
        np.savez(directory / TABLES, **{name: table.numpy() for name, table in self._tables.items()})

    @classmethod
    def load(cls, directory: Path) -> CandidateFeatures:
        with np.load(directory / TABLES, allow_pickle=False) as tables:
            return cls(dict(tables))

    def for_catalogue(self, rows: np.ndarray) -> CandidateFeatures:
        """The same counts for another catalogue; all counts of new items are 0.

        Args:
          rows: int32 [m], the index that each item of the other catalogue has in this one; UNKNOWN_ITEM for a new one.
        """
        old_index = np.concatenate([[UNKNOWN_ITEM], rows])  # by new index
        tables = {name: table.numpy()[old_index] for name, table in self._tables.items()}
        new_index = np.zeros(self._tables["popularity"].shape[0], np.int32)  # by old index
        new_index[rows] = np.arange(1, len(rows) + 1)
        new_index[UNKNOWN_ITEM] = UNKNOWN_ITEM
        for kind in ("together", "next"):
            items = new_index[tables[f"{kind}_item"]]
            tables[f"{kind}_item"] = items
            tables[f"{kind}_weight"] = np.where(items == UNKNOWN_ITEM, np.float16(0), tables[f"{kind}_weight"])
        return CandidateFeatures(tables)

    def __call__(self, item_index: tf.Tensor, length: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Features of candidates.

        Args:
          item_index: int32 [B, H], the history, oldest first, padded on the right.
          length: int32 [B], its number of valid events.
          candidates: int32 [B, N]; UNKNOWN_ITEM where there is no candidate.

        Returns:
          float32 [B, N, len(NAMES)].
        """
        matches = _CandidateMatches(candidates)
        later_events = length[:, tf.newaxis] - 1 - tf.range(tf.shape(item_index)[1])  # [B, H], 0 = the last event
        latest = _latest(item_index, length)  # [B, LATEST]
        events_since = tf.range(LATEST, dtype=tf.float32)
        decays = tf.constant(DECAYS) ** events_since[:, tf.newaxis]  # [LATEST, decays]
        together, weight = self._neighbours("together", latest)
        goes_together = matches.sum(together, weight[..., tf.newaxis] * decays[:, tf.newaxis])
        following, weight = self._neighbours("next", latest[:, :NEXT_EVENTS])
        decay = (NEXT_DECAY**events_since)[:NEXT_EVENTS, tf.newaxis]
        comes_next = matches.sum(following, (weight * decay)[..., tf.newaxis])
        own = tf.where(later_events >= 0, item_index, UNKNOWN_ITEM)
        recency = 1.0 / (1.0 + tf.cast(tf.maximum(later_events, 0), tf.float32))
        return tf.concat(
            [
                tf.math.log1p(10.0 * goes_together),
                tf.math.log1p(20.0 * comes_next),
                self.popularity(candidates)[..., tf.newaxis],
                tf.gather(self._tables["recent"], candidates)[..., tf.newaxis],
                tf.math.log1p(matches.sum(own, tf.ones_like(recency)[..., tf.newaxis])),
                matches.max(own, recency[..., tf.newaxis]),
            ],
            axis=-1,
        )

    def popularity(self, candidates: tf.Tensor) -> tf.Tensor:
        """log(1 + train events) of candidates, float32 of their shape."""
        return tf.gather(self._tables["popularity"], candidates)

    def rating_biases(
        self, item_index: tf.Tensor, rating: tf.Tensor | None, length: tf.Tensor, candidates: tf.Tensor
    ) -> tf.Tensor:
        """Rating biases of candidates and of the user: shrunk mean differences (Koren, 2010, section 2.1).

        Args:
          item_index, length, candidates: as for `__call__`.
          rating: float32 [B, H], ratings of the history in standard deviations from the mean of all ratings; NaN for
            none. None if the history's ratings are unknown.

        Returns:
          float32 [B, N, 2], in standard deviations: the item's bias, its mean difference from the mean of all ratings;
          and the user's bias, the mean difference of the history's ratings from the biases of their items.
        """
        item = tf.gather(self._tables["rating"], candidates)
        if rating is None:
            return tf.stack([item, tf.zeros_like(item)], axis=-1)
        rated = tf.math.is_finite(rating) & tf.sequence_mask(length, tf.shape(rating)[1])
        difference = tf.where(rated, rating - tf.gather(self._tables["rating"], item_index), 0.0)
        count = tf.reduce_sum(tf.cast(rated, tf.float32), axis=1)
        user = tf.reduce_sum(difference, axis=1) / (count + USER_SHRINKAGE)
        return tf.stack([item, tf.broadcast_to(user[:, tf.newaxis], tf.shape(item))], axis=-1)

    def _neighbours(self, kind: str, items: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Neighbours of items and their weights: [B, P] -> int32, float32 [B, P, M]."""
        weight = tf.gather(self._tables[f"{kind}_weight"], items)
        return tf.gather(self._tables[f"{kind}_item"], items), tf.cast(weight, tf.float32)


class _CandidateMatches:
    """For each candidate, int32 [B, N], aggregates the values of the items that equal it."""

    def __init__(self, candidates: tf.Tensor) -> None:
        padded = tf.pad(candidates, [[0, 0], [1, 0]], constant_values=UNKNOWN_ITEM)  # at least one column
        self._shape = tf.shape(padded)
        self._sorted = tf.sort(padded, axis=1)
        self._index = tf.searchsorted(self._sorted, candidates)  # first index of each candidate in the sorted row

    def sum(self, items: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """The sum of the values of items equal to each candidate: int32 [B, ...], float32 [B, ..., D] -> [B, N, D]."""
        return self._aggregated(tf.math.unsorted_segment_sum, items, values)

    def max(self, items: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """As `sum`, but the largest of the values, which should be positive; 0 if no item equals the candidate."""
        return tf.maximum(self._aggregated(tf.math.unsorted_segment_max, items, values), 0.0)

    def _aggregated(self, aggregate: Callable[..., tf.Tensor], items: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        batch, width = self._shape[0], self._shape[1]
        depth = values.shape[-1]
        items = tf.reshape(items, [batch, -1])  # [B, P]
        index = tf.minimum(tf.searchsorted(self._sorted, items), width - 1)
        is_equal = (tf.gather(self._sorted, index, batch_dims=1) == items) & (items != UNKNOWN_ITEM)
        segment = tf.where(is_equal, index + tf.range(batch)[:, tf.newaxis] * width, -1)  # -1 is ignored
        aggregated = aggregate(tf.reshape(values, [-1, depth]), tf.reshape(segment, [-1]), batch * width)
        return tf.gather(tf.reshape(aggregated, [batch, width, depth]), self._index, batch_dims=1)


def _latest(item_index: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """The last LATEST items of each row, the last one first, padded with UNKNOWN_ITEM: [B, H] -> [B, LATEST]."""
    index = length[:, tf.newaxis] - 1 - tf.range(LATEST)
    padded = tf.pad(item_index, [[0, 0], [1, 0]])  # column 0 is read for indices before the first event
    return tf.gather(padded, tf.maximum(index + 1, 0), batch_dims=1)
