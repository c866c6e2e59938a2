"""Ranks the full catalogue for many users, in batches of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.ragged import ranges
from trainer.data.tables import UNKNOWN_ITEM, ItemTable, SequenceTable
from trainer.evaluation.baselines import Scorer
from trainer.evaluation.candidates import candidate_mask, event_pairs, exclusion_start
from trainer.evaluation.protocols import Ranker, Retriever
from trainer.evaluation.requests import requests_before_targets
from trainer.evaluation.targets import Targets
from trainer.graphs import AnyShapeFunction

MAX_SCORES = 8_000_000  # scores in memory at once
MAX_BATCH = 512  # users

# (users int64 [B], allowed bool [n + 1] or [B, n + 1], excluded int32 [pairs, 2]) -> (scores [B, K], items [B, K]),
# best first, K >= k. For `allowed` and `excluded` see `top_k`.
RankUsers = Callable[[np.ndarray, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


@dataclass(frozen=True)
class RankingTask:
    """Which items to rank for which users.

    A user's request is made just before the targets, or after the last event if there are no targets.

    Args:
      config: `evaluation` decides which items are candidates, and whether requests have a query and a time; `data`
        decides which items of a user's history are excluded.
      items: the catalogue.
      sequences: any split.
      k: length of the lists.
      users: int64 [U], rows of `sequences`; all by default.
      candidates: int32 [U, N] item indices, padded with UNKNOWN_ITEM: of the candidates, only these are ranked for the
        user. By default all candidates are ranked.

    Raises:
      ValueError: `k` is less than 1.
    """

    config: Config
    items: ItemTable
    sequences: SequenceTable
    k: int
    users: np.ndarray | None = None
    candidates: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"`k` should be a positive integer. Received: `k={self.k}`")

    @property
    def list_length(self) -> int:
        """`k`, or the size of the catalogue if that is smaller."""
        return min(self.k, len(self.items))


@dataclass(frozen=True)
class RankedBatch:
    """The best items of a batch of users, best first."""

    users: np.ndarray  # int64 [B], rows of the sequence table
    items: np.ndarray  # int32 [B, k], item indices; UNKNOWN_ITEM pads the tail where fewer are allowed
    scores: np.ndarray  # float32 [B, k], -inf in the tail


def rank_with_model(
    task: RankingTask, model: Retriever, ranker: Ranker | None = None, item_vectors: tf.Tensor | None = None
) -> Iterator[RankedBatch]:
    """Ranks by the scores of a retrieval model. A ranking model, if given, re-orders the head of each list.

    Args:
      task: the items and users.
      model: the retrieval model.
      ranker: re-orders the best `config.ranking.candidates` items; the other items follow in the order of retrieval.
      item_vectors: the retrieval model's `item_vectors()`, if the caller has them already.

    Yields:
      the lists of a batch of users, short histories first.
    """
    config, k = task.config, task.list_length
    vectors = model.item_vectors() if item_vectors is None else item_vectors
    depth = k if ranker is None else min(max(k, config.ranking.candidates), len(task.items))

    def rank(users: np.ndarray, allowed: tf.Tensor, excluded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        requests = requests_before_targets(config, model.columns, task.sequences, users)
        scores, items, user_vectors = model.search(requests, vectors, allowed, excluded, tf.constant(depth))
        if ranker is None:
            return scores, items
        history = {name: requests[name] for name in ("item_index", "length")}
        return ranker.reorder(history, user_vectors, scores, items, tf.constant(config.ranking.candidates))

    return _ranked_batches(task, rank)


def rank_with_scorer(task: RankingTask, scorer: Scorer) -> Iterator[RankedBatch]:
    """Ranks by a baseline's scores. Yields the lists of a batch of users, short histories first."""

    def rank(users: np.ndarray, allowed: tf.Tensor, excluded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _top_k(tf.constant(scorer(task.sequences, users)), allowed, excluded, tf.constant(task.list_length))

    return _ranked_batches(task, rank)


def _ranked_batches(task: RankingTask, rank: RankUsers) -> Iterator[RankedBatch]:
    sequences, k = task.sequences, task.list_length
    mask = candidate_mask(task.config, task.items)
    batch_size = int(np.clip(MAX_SCORES // len(mask), 1, MAX_BATCH))
    all_users = np.arange(len(sequences)) if task.users is None else task.users
    stop = sequences.offsets[1:] - sequences.target_count
    # Users with histories of similar length share a batch: otherwise most of the computation would be padding.
    lengths = np.minimum(stop - sequences.offsets[:-1], task.config.model.max_history)
    order = np.argsort(lengths[all_users], kind="stable")
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        users = all_users[rows]
        allowed = mask if task.candidates is None else _only(task.candidates[rows], mask)
        start = exclusion_start(task.config, sequences, users, stop[users])
        scores, items = rank(users, tf.constant(allowed), event_pairs(sequences, start, stop[users]))
        yield RankedBatch(users, items[:, :k].numpy().astype(np.int32), scores[:, :k].numpy())


def _only(candidates: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Which items are allowed and among the row's candidates: int32 [B, N], bool [n + 1] -> bool [B, n + 1]."""
    chosen = np.zeros((len(candidates), len(mask)), bool)
    np.put_along_axis(chosen, candidates, True, axis=1)
    return chosen & mask


def top_k(scores: tf.Tensor, allowed: tf.Tensor, excluded: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The best allowed items; of equal scores the lower index comes first.

    Args:
      scores: float32 [B, n + 1].
      allowed: bool [n + 1], or [B, n + 1] where each row has its own.
      excluded: int32 [pairs, 2], (row, item index) that may not be returned.
      k: int32 scalar.

    Returns:
      (float32 [B, k] scores, int32 [B, k] item indices); -inf and UNKNOWN_ITEM where fewer than k are allowed.
    """
    scores = tf.where(allowed, scores, -float("inf"))
    scores = tf.tensor_scatter_nd_update(scores, excluded, tf.fill([tf.shape(excluded)[0]], -float("inf")))
    best, index = tf.math.top_k(scores, k)
    return best, tf.where(tf.math.is_finite(best), index, UNKNOWN_ITEM)


_top_k = AnyShapeFunction(top_k)


def target_ranks(batches: Iterable[RankedBatch], targets: Targets) -> np.ndarray:
    """The rank of each target in its user's list, from 1; 0 where it is not in the list: int64 [targets]."""
    ranks = np.zeros(len(targets.item), np.int64)
    for batch in batches:
        target, row = ranges(targets.offsets[batch.users], targets.offsets[batch.users + 1])
        hits = (batch.items[row] == targets.item[target][:, np.newaxis]) & (batch.items[row] != UNKNOWN_ITEM)
        ranks[target] = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)
    return ranks
