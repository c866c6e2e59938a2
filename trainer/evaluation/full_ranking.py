"""Full ranking: the whole catalogue, for every user, in bounded batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.batches import request_batches
from trainer.data.tables import UNKNOWN_ITEM, ItemTable, SequenceTable
from trainer.evaluation.baselines import Scorer
from trainer.evaluation.protocols import Ranker, Retriever
from trainer.graphs import AnyShapeFunction

LOGITS = 8_000_000  # scores alive at once


@dataclass(frozen=True)
class RankedBatch:
    """The best items of some users, best first."""

    users: np.ndarray  # int64 [B], rows of the sequence table
    items: np.ndarray  # int32 [B, k], item indices; UNKNOWN_ITEM pads the tail where fewer are allowed
    scores: np.ndarray  # float32 [B, k], -inf in the tail


@dataclass(frozen=True)
class Targets:
    """Distinct target items of each user: those of user u are `item[offsets[u]:offsets[u + 1]]`."""

    item: np.ndarray  # int32 [targets]
    place: np.ndarray  # int64 [targets], flat positions of their (first) events
    offsets: np.ndarray  # int64 [users + 1]

    @property
    def user(self) -> np.ndarray:
        """int64 [targets]"""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def only(self, kept: np.ndarray) -> Targets:
        """The targets where `kept` bool [targets] holds."""
        counts = np.bincount(self.user[kept], minlength=len(self.offsets) - 1)
        return Targets(self.item[kept], self.place[kept], np.concatenate([[0], np.cumsum(counts)]))


def targets_of(sequences: SequenceTable) -> Targets:
    """The last `target_count` events of each user; an item that comes twice counts once."""
    place, user = _events(sequences.offsets[1:] - sequences.target_count, sequences.offsets[1:])
    pairs, first = np.unique(np.stack([user, sequences.item[place]], axis=1), axis=0, return_index=True)
    counts = np.bincount(pairs[:, 0], minlength=len(sequences))
    return Targets(pairs[:, 1].astype(np.int32), place[first], np.concatenate([[0], np.cumsum(counts)]))


def candidate_mask(config: Config, items: ItemTable) -> np.ndarray:
    """Which items are ranked, bool [n + 1]; the unknown item never is."""
    wanted = items.occurs if config.evaluation.candidates == "occurring" else np.ones(len(items), bool)
    return np.concatenate([[False], wanted])


def rank_all(
    config: Config,
    model: Retriever | Scorer,
    items: ItemTable,
    sequences: SequenceTable,
    *,
    k: int,
    users: np.ndarray | None = None,
    among: np.ndarray | None = None,
    ranking: Ranker | None = None,
    item_vectors: tf.Tensor | None = None,
) -> Iterator[RankedBatch]:
    """Ranks the catalogue for each user as of just before its targets (or after all it did, where there are none).

    Args:
      config: `evaluation` says which items are candidates and what a request knows, `data` which of a user's own items
        are left out.
      model: the retrieval model, or a baseline.
      items: the catalogue.
      sequences: any split.
      k: items in a list.
      users: rows of `sequences`; all by default.
      among: int32 [users, N] item indices, padded by UNKNOWN_ITEM: of the candidates, only these are ranked.
      ranking: re-orders the best `config.ranking.candidates` of the retrieval model; the rest follow in their order.
      item_vectors: the retrieval model's `item_vectors()`, if the caller has them already.

    Yields:
      batches of users, those with short histories first.
    """
    if k < 1:
        raise ValueError(f"`k` should be a positive integer. Received: `k={k}`")
    k = min(k, len(items))
    batch_size = int(np.clip(LOGITS // (len(items) + 1), 1, 512))
    candidates = candidate_mask(config, items)
    stop = sequences.offsets[1:] - sequences.target_count
    users = np.arange(len(sequences)) if users is None else users
    among_of = None if among is None else dict(zip(users.tolist(), among, strict=True))
    # Histories of one length together: padding is what ranking many users would otherwise mostly compute.
    lengths = np.minimum(stop - sequences.offsets[:-1], config.model.max_history)
    users = users[np.argsort(lengths[users], kind="stable")]

    def allowed(rows: np.ndarray) -> tf.Tensor:
        if among_of is None:
            return tf.constant(candidates)
        chosen = np.zeros((len(rows), len(candidates)), bool)
        np.put_along_axis(chosen, np.stack([among_of[row] for row in rows.tolist()]), True, axis=1)
        return tf.constant(chosen & candidates)

    def own(rows: np.ndarray) -> tf.Tensor:
        return event_pairs(sequences, excluded_from(config, sequences, rows, stop[rows]), stop[rows])

    if callable(getattr(model, "encode", None)):
        depth = k if ranking is None else min(max(k, config.ranking.candidates), len(items))
        model = cast(Retriever, model)
        vectors = model.item_vectors() if item_vectors is None else item_vectors
        settings = config.evaluation
        for rows, batch in request_batches(
            sequences,
            model.columns,
            config.model.max_history,
            batch_size,
            with_query=settings.with_query,
            with_timestamp=settings.with_timestamp,
            users=users,
        ):
            tensors = {name: tf.constant(value) for name, value in batch.items()}
            scores, best, user_vectors = model.search(tensors, vectors, allowed(rows), own(rows), tf.constant(depth))
            if ranking is not None:
                history = {name: tensors[name] for name in ("item_index", "length")}
                count = tf.constant(config.ranking.candidates)
                scores, best = ranking.reorder(history, user_vectors, scores, best, count)
            yield _ranked(rows, scores[:, :k], best[:, :k])
    else:
        scorer = cast(Scorer, model)
        for first in range(0, len(users), batch_size):
            rows = users[first : first + batch_size]
            scores, best = _top_k(tf.constant(scorer(sequences, rows)), allowed(rows), own(rows), tf.constant(k))
            yield _ranked(rows, scores, best)


def top_k(scores: tf.Tensor, allowed: tf.Tensor, excluded: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The best allowed items: of equal scores the lower index comes first.

    Args:
      scores: float32 [B, n + 1].
      allowed: bool [n + 1], or [B, n + 1] where each row has its own.
      excluded: int32 [pairs, 2], (row, item index) that may not come back.
      k: int32 scalar.

    Returns:
      (float32 [B, k] scores, int32 [B, k] item indices); -inf and UNKNOWN_ITEM where fewer than k are allowed.
    """
    scores = tf.where(allowed, scores, -float("inf"))
    scores = tf.tensor_scatter_nd_update(scores, excluded, tf.fill([tf.shape(excluded)[0]], -float("inf")))
    best, index = tf.math.top_k(scores, k)
    return best, tf.where(tf.math.is_finite(best), index, UNKNOWN_ITEM)


_top_k = AnyShapeFunction(top_k)


def ranks_in(ranked: Iterator[RankedBatch], targets: Targets) -> np.ndarray:
    """The rank of each target in its user's list, from 1, 0 where it is not in it: int64 [targets]."""
    ranks = np.zeros(len(targets.item), np.int64)
    for batch in ranked:
        place, row = _events(targets.offsets[batch.users], targets.offsets[batch.users + 1])
        found = (batch.items[row] == targets.item[place][:, np.newaxis]) & (batch.items[row] != UNKNOWN_ITEM)
        ranks[place] = np.where(found.any(axis=1), found.argmax(axis=1) + 1, 0)
    return ranks


def excluded_from(config: Config, sequences: SequenceTable, users: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Where the events begin whose items may not be recommended to a user who has done all before `stop`.

    That is all of them (`data.exclude_history`), those of the last `data.exclude_recent_seconds`, or none. Seconds are
    counted back from the event at `stop` where a request knows its time, and otherwise from the last one before it.

    Args:
      users, stop: int64 [B], rows of `sequences` and flat positions in them.

    Returns:
      int64 [B] flat positions, `stop` where nothing is left out.
    """
    begin, end = sequences.offsets[:-1][users], sequences.offsets[1:][users]
    if config.data.exclude_history:
        return begin
    seconds, times = config.data.exclude_recent_seconds, sequences.timestamp
    if not seconds or not len(times):
        return stop
    last = np.where(config.evaluation.with_timestamp & (stop < end), stop, stop - 1)
    return np.array(
        [
            first + np.searchsorted(times[first:after], max(times[now] - seconds, 0), side="right")
            for first, after, now in zip(begin, stop, last, strict=True)
        ],
        np.int64,
    )


def event_pairs(sequences: SequenceTable, start: np.ndarray, stop: np.ndarray) -> tf.Tensor:
    """(i, item index) of the events at flat positions `start[i]..stop[i]`: int32 [pairs, 2]."""
    place, row = _events(start, stop)
    return tf.constant(np.stack([row, sequences.item[place]], axis=1), tf.int32)


def _events(start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat positions of `start[i]..stop[i]` one after another, and i for each: (int64 [total], int64 [total])."""
    lengths = np.maximum(stop - start, 0)
    row = np.repeat(np.arange(len(lengths)), lengths)
    within = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return start[row] + within, row


def _ranked(rows: np.ndarray, scores: tf.Tensor, best: tf.Tensor) -> RankedBatch:
    return RankedBatch(rows, best.numpy().astype(np.int32), scores.numpy())
