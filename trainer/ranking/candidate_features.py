"""What the ranking model knows of a candidate beside its vector: what it goes with, how popular and how liked it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from trainer.data.cooccurrence import coming_next, going_together
from trainer.data.tables import UNKNOWN_ITEM, ItemTable, SequenceTable

TABLES = "candidate_tables.npz"
DECAYS = (1.0, 0.8, 0.3)  # of what goes together with a past event, for each event since: all of it, lately, the last
LATEST = 20  # events that are looked up in the neighbour tables
NEXT_EVENTS, NEXT_DECAY = 3, 0.6  # events that something comes next of
RECENT = 0.1  # of the train split's time is "recently"
ITEM_DOUBT, USER_DOUBT = 10.0, 5.0  # ratings at which half of how they differ from all others is believed

NAMES = (
    *(f"goes together, decay {decay:g}" for decay in DECAYS),
    "comes next",
    "popularity",
    "recent popularity",
    "own events",
    "own recency",
)


class CandidateFeatures(tf.Module):
    """Features of candidates, out of tables that are counted from the train split alone.

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
          neighbours: of each item, at most, in each table.
        """
        together = going_together(len(items), train, neighbours)
        following = coming_next(len(items), train, neighbours)
        recent = np.zeros(len(items) + 1)
        if len(train.timestamp):
            late = train.timestamp >= np.quantile(train.timestamp, 1 - RECENT)
            recent = np.bincount(train.item[late], minlength=len(items) + 1).astype(np.float64)
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
            above = (train.rating[rated] - train.rating_mean) / train.rating_std
            count = np.bincount(train.item[rated], minlength=len(items) + 1)
            total = np.bincount(train.item[rated], weights=above, minlength=len(items) + 1)
            tables["rating"] = (total / (count + ITEM_DOUBT)).astype(np.float32)
        return cls(tables)

    def save(self, directory: Path) -> None:
        np.savez(directory / TABLES, **{name: table.numpy() for name, table in self._tables.items()})

    @classmethod
    def load(cls, directory: Path) -> CandidateFeatures:
        with np.load(directory / TABLES, allow_pickle=False) as tables:
            return cls(dict(tables))

    def for_catalogue(self, rows: np.ndarray) -> CandidateFeatures:
        """The same counts over another catalogue; of a new item nothing was counted.

        Args:
          rows: int32 [m], the index that each item of the other catalogue has in this one; UNKNOWN_ITEM for a new one.
        """
        kept = np.concatenate([[UNKNOWN_ITEM], rows])
        tables = {name: table.numpy()[kept] for name, table in self._tables.items()}
        moved = np.zeros(self._tables["popularity"].shape[0], np.int32)  # index here -> index there
        moved[rows] = np.arange(1, len(rows) + 1)
        moved[UNKNOWN_ITEM] = UNKNOWN_ITEM
        for kind in ("together", "next"):
            items = moved[tables[f"{kind}_item"]]
            tables[f"{kind}_item"] = items
            tables[f"{kind}_weight"] = np.where(items == UNKNOWN_ITEM, np.float16(0), tables[f"{kind}_weight"])
        return CandidateFeatures(tables)

    def __call__(self, item_index: tf.Tensor, length: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Features of candidates.

        Args:
          item_index: int32 [B, H], the history, oldest first, padded on the right.
          length: int32 [B], valid events of it.
          candidates: int32 [B, N]; UNKNOWN_ITEM where there is none.

        Returns:
          float32 [B, N, len(NAMES)].
        """
        found = _Found(candidates)
        back = length[:, tf.newaxis] - 1 - tf.range(tf.shape(item_index)[1])  # [B, H], 0 = the last event
        latest = _latest(item_index, length)  # [B, LATEST]
        since = tf.range(LATEST, dtype=tf.float32)
        decays = tf.constant(DECAYS) ** since[:, tf.newaxis]  # [LATEST, decays]
        together, weight = self._neighbours("together", latest)
        goes_together = found.sum(together, weight[..., tf.newaxis] * decays[:, tf.newaxis])
        following, weight = self._neighbours("next", latest[:, :NEXT_EVENTS])
        decay = (NEXT_DECAY**since)[:NEXT_EVENTS, tf.newaxis]
        comes_next = found.sum(following, (weight * decay)[..., tf.newaxis])
        own = tf.where(back >= 0, item_index, UNKNOWN_ITEM)
        ago = 1.0 / (1.0 + tf.cast(tf.maximum(back, 0), tf.float32))
        return tf.concat(
            [
                tf.math.log1p(10.0 * goes_together),
                tf.math.log1p(20.0 * comes_next),
                self.popularity(candidates)[..., tf.newaxis],
                tf.gather(self._tables["recent"], candidates)[..., tf.newaxis],
                tf.math.log1p(found.sum(own, tf.ones_like(ago)[..., tf.newaxis])),
                found.largest(own, ago[..., tf.newaxis]),
            ],
            axis=-1,
        )

    def popularity(self, candidates: tf.Tensor) -> tf.Tensor:
        """log(1 + train events) of candidates, float32 of their shape."""
        return tf.gather(self._tables["popularity"], candidates)

    def rating_biases(
        self, item_index: tf.Tensor, rating: tf.Tensor | None, length: tf.Tensor, candidates: tf.Tensor
    ) -> tf.Tensor:
        """How candidates are rated by all, and how the user rates: mean differences, shrunk (Koren, 2010, section 2.1).

        Args:
          item_index, length, candidates: as for `__call__`.
          rating: float32 [B, H], of the history, in standard deviations from the mean of all; NaN for none. None where
            it is not known.

        Returns:
          float32 [B, N, 2], standard deviations: of the item from all, of the user from how all rate those items.
        """
        item = tf.gather(self._tables["rating"], candidates)
        if rating is None:
            return tf.stack([item, tf.zeros_like(item)], axis=-1)
        rated = tf.math.is_finite(rating) & tf.sequence_mask(length, tf.shape(rating)[1])
        above = tf.where(rated, rating - tf.gather(self._tables["rating"], item_index), 0.0)
        count = tf.reduce_sum(tf.cast(rated, tf.float32), axis=1)
        user = tf.reduce_sum(above, axis=1) / (count + USER_DOUBT)
        return tf.stack([item, tf.broadcast_to(user[:, tf.newaxis], tf.shape(item))], axis=-1)

    def _neighbours(self, kind: str, items: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Neighbours of items and their weights: [B, P] -> int32, float32 [B, P, M]."""
        weight = tf.gather(self._tables[f"{kind}_weight"], items)
        return tf.gather(self._tables[f"{kind}_item"], items), tf.cast(weight, tf.float32)


class _Found:
    """Finds items among each row's candidates: int32 [B, N]."""

    def __init__(self, candidates: tf.Tensor) -> None:
        padded = tf.pad(candidates, [[0, 0], [1, 0]], constant_values=UNKNOWN_ITEM)  # never without a column
        self._shape = tf.shape(padded)
        self._sorted = tf.sort(padded, axis=1)
        self._place = tf.searchsorted(self._sorted, candidates)  # of each candidate in the sorted row, its first one

    def sum(self, items: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """Sums of the values that stand beside a candidate: int32 [B, ...], float32 [B, ..., D] -> [B, N, D]."""
        return self._gathered(tf.math.unsorted_segment_sum, items, values)

    def largest(self, items: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """As `sum`, the largest of the values, which are positive; 0 where there is none."""
        return tf.maximum(self._gathered(tf.math.unsorted_segment_max, items, values), 0.0)

    def _gathered(self, combine: Callable[..., tf.Tensor], items: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        batch, width = self._shape[0], self._shape[1]
        depth = values.shape[-1]
        items = tf.reshape(items, [batch, -1])  # [B, P]
        place = tf.minimum(tf.searchsorted(self._sorted, items), width - 1)
        hit = (tf.gather(self._sorted, place, batch_dims=1) == items) & (items != UNKNOWN_ITEM)
        segment = tf.where(hit, place + tf.range(batch)[:, tf.newaxis] * width, -1)  # -1 is left out
        combined = combine(tf.reshape(values, [-1, depth]), tf.reshape(segment, [-1]), batch * width)
        return tf.gather(tf.reshape(combined, [batch, width, depth]), self._place, batch_dims=1)


def _latest(item_index: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """The last LATEST items of each row, the last one first, padded with UNKNOWN_ITEM: [B, H] -> [B, LATEST]."""
    place = length[:, tf.newaxis] - 1 - tf.range(LATEST)
    padded = tf.pad(item_index, [[0, 0], [1, 0]])  # column 0 is what a place before the first event reads
    return tf.gather(padded, tf.maximum(place + 1, 0), batch_dims=1)
