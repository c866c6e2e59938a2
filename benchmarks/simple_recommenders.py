"""Recommenders without a model, as scorers of `trainer.evaluation`: item-kNN and a user's own most frequent items."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import scipy.sparse

from trainer.config import Config
from trainer.data import ItemTable, SequenceTable
from trainer.evaluation import metrics
from trainer.evaluation.baselines import Scorer, popularity
from trainer.evaluation.full_ranking import rank_all, ranks_in, targets_of

NEIGHBOURS = (50, 500)
SHRINKAGES = (0.0, 10.0, 100.0)
DECAYS = (1.0, 0.9, 0.7)  # weight of an event, by how many events of the user came after it


def own_items(items: ItemTable) -> Scorer:
    """The user's own items by how often they come in the history; of equals the later one, then by popularity."""
    rest = popularity(items)

    def score(sequences: SequenceTable, users: np.ndarray) -> np.ndarray:
        scores = rest(sequences, users) / (1.0 + items.train_count.max(initial=0))  # below 1
        for row, history in enumerate(_histories(sequences, users)):
            recency = (1.0 + np.arange(len(history))) / (1.0 + len(history))  # below 1, higher is later
            own = np.bincount(history, minlength=len(items) + 1).astype(np.float64)
            last = np.zeros(len(items) + 1)
            last[history] = recency  # the last assignment wins
            scores[row] = np.where(own > 0, 1.0 + own + last, scores[row])
        return scores.astype(np.float32)

    return score


def item_knn(
    items: ItemTable, train: SequenceTable, neighbours: int, shrinkage: float, decay: float, keep_own: bool
) -> Scorer:
    """Sum over a history of each item's cosine to the candidate, over who has them (Sarwar et al., 2001).

    Similarity of items that n and m users have, c of them both: c / (sqrt(n m) + shrinkage).

    Args:
      items: the catalogue.
      train: what the similarities are of.
      neighbours: of each item, so many most similar ones count.
      shrinkage: holds similarities down that few users speak for.
      decay: an event followed by k others of the user counts decay^k.
      keep_own: whether an item is its own neighbour: where what was bought may be bought again.
    """
    size = len(items) + 1
    user = np.repeat(np.arange(len(train)), np.diff(train.offsets))
    known = train.item > 0
    has = scipy.sparse.csr_matrix(
        (np.ones(known.sum(), np.float32), (user[known], train.item[known])), (len(train), size)
    )
    has.data[:] = 1.0  # a repeated pair was added up
    together = (has.T @ has).tocoo()
    norm = np.sqrt(np.bincount(has.indices, minlength=size).astype(np.float32))
    values = together.data / (norm[together.row] * norm[together.col] + shrinkage)
    similar = scipy.sparse.csr_matrix((values, (together.row, together.col)), (size, size))
    if not keep_own:
        similar.setdiag(0.0)
    similar = _largest(similar, neighbours)

    def score(sequences: SequenceTable, users: np.ndarray) -> np.ndarray:
        histories = list(_histories(sequences, users))
        row = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
        weights = np.concatenate([decay ** np.arange(len(history))[::-1] for history in histories])
        column = np.concatenate(histories)
        read = scipy.sparse.csr_matrix((weights.astype(np.float32), (row, column)), (len(histories), size))
        return np.asarray((read @ similar).todense(), np.float32)

    return score


def tuned_item_knn(config: Config, items: ItemTable, train: SequenceTable, validation: SequenceTable) -> Scorer:
    """The item-kNN with the best validation NDCG@10 over `NEIGHBOURS`, `SHRINKAGES` and `DECAYS`."""
    own = (False, True) if not config.data.exclude_history else (False,)
    best, chosen = -1.0, None
    for settings in itertools.product(NEIGHBOURS, SHRINKAGES, DECAYS, own):
        scorer = item_knn(items, train, *settings)
        found = measure(config, scorer, items, validation)["ndcg@10"]
        if found > best:
            best, chosen = found, scorer
    assert chosen is not None
    return chosen


def measure(config: Config, scorer: Scorer, items: ItemTable, sequences: SequenceTable) -> dict[str, float]:
    """Metrics over the held-out users, full ranking, as `trainer.evaluation.evaluate` has them for a model."""
    targets = targets_of(sequences)
    users = np.flatnonzero(np.diff(targets.offsets))
    ranks = ranks_in(rank_all(config, scorer, items, sequences, k=100, users=users), targets)
    return metrics.from_ranks(ranks, targets.offsets, (10, 100))


def _histories(sequences: SequenceTable, users: np.ndarray) -> Iterator[np.ndarray]:
    """Items of each user before its targets, oldest first."""
    stop = sequences.offsets[1:] - sequences.target_count
    for user in users:
        history = sequences.item[sequences.offsets[user] : stop[user]]
        yield history[history > 0]


def _largest(matrix: scipy.sparse.csr_matrix, count: int) -> scipy.sparse.csr_matrix:
    """The largest entries of each row alone."""
    for start, stop in itertools.pairwise(matrix.indptr):
        if stop - start > count:
            row = matrix.data[start:stop]
            row[np.argpartition(row, -count)[:-count]] = 0.0
    matrix.eliminate_zeros()
    return matrix
