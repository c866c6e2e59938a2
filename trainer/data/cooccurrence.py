"""Which items go together in users' histories, and which come next: each item's strongest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from trainer.data.ragged import ranges
from trainer.data.tables import UNKNOWN_ITEM, SequenceTable

SHRINKAGE = 10.0  # users that have to speak for a pair before its similarity counts half
LATEST = 1_000  # events of a user that are paired: what somebody with more has says little, and costs its square
LAGS = (1.0, 1 / 2, 1 / 3)  # weight of an event that comes first, second, third after another
ROWS = 4_096  # items whose pairs are counted at once


@dataclass(frozen=True)
class Neighbours:
    """Row i: the neighbours of item i, strongest first; row 0, the unknown item, has none."""

    item: np.ndarray  # int32 [n + 1, count], UNKNOWN_ITEM where an item has fewer
    weight: np.ndarray  # float32 [n + 1, count], 0 there


def going_together(items: int, train: SequenceTable, count: int, shrinkage: float = SHRINKAGE) -> Neighbours:
    """By the cosine of who has them (Sarwar et al., 2001), shrunk: c / (sqrt(n m) + shrinkage), c users having both.

    Args:
      items: size of the catalogue.
      train: the train split.
      count: neighbours of each item, at most.
      shrinkage: holds similarities down that few users speak for.
    """
    user, item = _latest(train)
    has = scipy.sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), (len(train), items + 1))
    has.sum_duplicates()
    has.data[:] = 1.0
    users = np.asarray(has.sum(axis=0)).ravel()
    return _strongest(has.T.tocsr(), has, users, count, shrinkage)


def coming_next(items: int, train: SequenceTable, count: int) -> Neighbours:
    """By how often they come within the next three events of a user, over how often either comes at all.

    Args: as `going_together`.
    """
    before, after = _in_order(items, *_latest(train), LAGS)
    return _strongest(before, after, np.diff(before.indptr), count, SHRINKAGE)


def pairs_in_order(
    items: int, train: SequenceTable, lags: Sequence[float], most_events: int
) -> scipy.sparse.csr_matrix:
    """How often item j follows item i within `len(lags)` events of a user.

    Args:
      items: size of the catalogue.
      train: the train split.
      lags: what it counts, if j is the first, second, ... event after i.
      most_events: where there are more, every second, third, ... user speaks for all.

    Returns:
      float32 [n + 1, n + 1], row i, column j; nothing in row and column 0.
    """
    before, after = _in_order(items, *_latest(train, most_events), lags)
    return before @ after


def _in_order(
    items: int, user: np.ndarray, item: np.ndarray, lags: Sequence[float]
) -> tuple[scipy.sparse.csr_matrix, scipy.sparse.csr_matrix]:
    """Items by the events they are [n + 1, events], and events by the items that follow them [events, n + 1]."""
    events = len(user)
    before = scipy.sparse.csr_matrix((np.ones(events, np.float32), (item, np.arange(events))), (items + 1, events))
    rows, columns, weights = [], [], []
    for lag, weight in enumerate(lags, start=1):
        first = np.flatnonzero(user[lag:] == user[:-lag])
        rows.append(first)
        columns.append(item[first + lag])
        weights.append(np.full(len(first), weight, np.float32))
    after = scipy.sparse.csr_matrix(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), (events, items + 1)
    )
    return before, after


def _latest(train: SequenceTable, most_events: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(user, item) of every user's latest events whose items are known, oldest first: int64 [m], int64 [m].

    Where there are more than about `most_events`, those of every second, third, ... user.
    """
    position, user = ranges(train.offsets[:-1], train.offsets[1:])
    back = train.offsets[1:][user] - 1 - position
    kept = (back < LATEST) & (train.item != UNKNOWN_ITEM)
    if most_events is not None:
        kept &= user % max(1, -(-len(user) // most_events)) == 0
    return user[kept], train.item[kept].astype(np.int64)


def _strongest(
    left: scipy.sparse.csr_matrix, right: scipy.sparse.csr_matrix, occurrences: np.ndarray, count: int, shrinkage: float
) -> Neighbours:
    """The largest entries of each row of left @ right, divided by the geometric mean of the two items' occurrences, to
    which `shrinkage` is added.
    """
    size = left.shape[0]
    item, weight = np.zeros([size, count], np.int32), np.zeros([size, count], np.float32)
    norm = np.sqrt(occurrences)
    for first in range(0, size, ROWS):
        pairs = (left[first : first + ROWS] @ right).tocoo()
        apart = pairs.col != pairs.row + first
        row, column, value = pairs.row[apart] + first, pairs.col[apart], pairs.data[apart]
        value = value / np.maximum(norm[row] * norm[column] + shrinkage, 1e-12)
        order = np.lexsort([column, -value, row])  # by row, strongest first, ties by index: the same every time
        row, column, value = row[order], column[order], value[order]
        rank = np.arange(len(row)) - np.searchsorted(row, row)
        kept = rank < count
        item[row[kept], rank[kept]], weight[row[kept], rank[kept]] = column[kept], value[kept]
    return Neighbours(item, weight)
