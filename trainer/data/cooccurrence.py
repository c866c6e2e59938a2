"""Items that occur together in users' histories: each item's strongest neighbours, and the items that follow it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from trainer.data.ragged import ranges
from trainer.data.tables import UNKNOWN_ITEM, SequenceTable

SHRINKAGE = 10.0  # a pair whose items have this many users each has half its unshrunk similarity
LATEST = 1_000  # largest number of latest events of a user to pair: the work grows with its square
LAGS = (1.0, 1 / 2, 1 / 3)  # weights of an item that is the first, second, third event after another
ITEMS_AT_ONCE = 4_096  # items whose pairs are in memory at once


@dataclass(frozen=True)
class Neighbours:
    """Each item's neighbours: row i holds those of item i, strongest first. Row 0, the unknown item, has none."""

    item: np.ndarray  # int32 [n + 1, count], UNKNOWN_ITEM where an item has fewer
    weight: np.ndarray  # float32 [n + 1, count], 0 there


def going_together(items: int, train: SequenceTable, count: int, shrinkage: float = SHRINKAGE) -> Neighbours:
    """Items that the same users have: item-kNN with cosine similarity (Sarwar et al., 2001) and shrinkage.

    The similarity of items with n and m users, c of whom have both, is c / (sqrt(n m) + shrinkage).

    Args:
      items: size of the catalogue.
      train: the train split.
      count: largest number of neighbours of an item.
      shrinkage: lowers the similarity of items with few users.
    """
    user, item = _latest(train)
    user_items = scipy.sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), (len(train), items + 1))
    user_items.sum_duplicates()
    user_items.data[:] = 1.0
    users = np.asarray(user_items.sum(axis=0)).ravel()
    return _strongest(user_items.T.tocsr(), user_items, users, count, shrinkage)


def coming_next(items: int, train: SequenceTable, count: int) -> Neighbours:
    """Items that follow an item within a user's next three events.

    The weight of a neighbour is its weighted number of such events (LAGS), relative to the events of both items.

    Args: as for `going_together`.
    """
    before, after = _in_order(items, *_latest(train), LAGS)
    return _strongest(before, after, np.diff(before.indptr), count, SHRINKAGE)


def pairs_in_order(items: int, train: SequenceTable, lags: Sequence[float], max_events: int) -> scipy.sparse.csr_matrix:
    """How often item j follows item i within `len(lags)` events of a user.

    Args:
      items: size of the catalogue.
      train: the train split.
      lags: weight of a pair in which j is the first, second, ... event after i.
      max_events: about the largest number of events to pair. If there are more, only every second, third, ... user is
        read.

    Returns:
      float32 [n + 1, n + 1], row i, column j; row and column 0 are empty.
    """
    before, after = _in_order(items, *_latest(train, max_events), lags)
    return before @ after


def _in_order(
    items: int, user: np.ndarray, item: np.ndarray, lags: Sequence[float]
) -> tuple[scipy.sparse.csr_matrix, scipy.sparse.csr_matrix]:
    """Two matrices: item x event with that item [n + 1, events], and event x items that follow it [events, n + 1]."""
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


def _latest(train: SequenceTable, max_events: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(user, item) of every user's latest events with known items, oldest first: int64 [m], int64 [m].

    If the train split has more than `max_events` events, only those of every second, third, ... user.
    """
    position, user = ranges(train.offsets[:-1], train.offsets[1:])
    events_after = train.offsets[1:][user] - 1 - position
    mask = (events_after < LATEST) & (train.item != UNKNOWN_ITEM)
    if max_events is not None:
        mask &= user % max(1, -(-len(user) // max_events)) == 0
    return user[mask], train.item[mask].astype(np.int64)


def _strongest(
    left: scipy.sparse.csr_matrix, right: scipy.sparse.csr_matrix, occurrences: np.ndarray, count: int, shrinkage: float
) -> Neighbours:
    """The largest entries of each row of left @ right, without the diagonal.

    Entries are divided by the sum of `shrinkage` and the geometric mean of the two items' occurrences.
    """
    size = left.shape[0]
    item, weight = np.zeros([size, count], np.int32), np.zeros([size, count], np.float32)
    norm = np.sqrt(occurrences)
    for first in range(0, size, ITEMS_AT_ONCE):
        pairs = (left[first : first + ITEMS_AT_ONCE] @ right).tocoo()
        others = pairs.col != pairs.row + first  # an item is not its own neighbour
        row, column, value = pairs.row[others] + first, pairs.col[others], pairs.data[others]
        value = value / np.maximum(norm[row] * norm[column] + shrinkage, 1e-12)
        order = np.lexsort([column, -value, row])  # by row, then strongest first, then by index
        row, column, value = row[order], column[order], value[order]
        rank = np.arange(len(row)) - np.searchsorted(row, row)
        top = rank < count
        item[row[top], rank[top]], weight[row[top], rank[top]] = column[top], value[top]
    return Neighbours(item, weight)
