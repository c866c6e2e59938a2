"""Baselines that a model should beat. Each one is computed from the train split and a user's history alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import scipy.sparse

from trainer.config import Config
from trainer.data.cooccurrence import SHRINKAGE, going_together
from trainer.data.features import has_clock
from trainer.data.ragged import ranges
from trainer.data.tables import NO_TEXT, UNKNOWN_ITEM, ItemTable, SequenceTable, TextVectors
from trainer.evaluation.protocols import Scorer

RECENT = 0.1  # share of the train split's time that counts as recent
NEIGHBOURS = 200  # of each item
DECAYS = (1.0, 0.9, 0.7)  # an event followed by k others has weight decay^k; the best decay on validation is used
FACTORS = 64  # of the matrix factorisation
# (confidence, regularisation) of the matrix factorisation; the best pair on validation is used. Its quality depends
# strongly on them (Rendle et al., 2022).
FACTORISATIONS = ((10.0, 10.0), (1.0, 10.0), (40.0, 100.0), (100.0, 300.0))
MAX_TUNED_EVENTS = 2_000_000  # with more train events, only the first pair is tried
TEXTS_AT_ONCE = 65_536


def popularity(items: ItemTable) -> Scorer:
    """The number of train events. Items with equal counts rank in the order of the catalogue."""
    return _same_for_all(np.concatenate([[0], items.train_count]))


def recent_popularity(items: ItemTable, train: SequenceTable) -> Scorer:
    """The number of events in the last tenth of the train split's time; ties are broken by the number of all events.

    Raises:
      ValueError: the train split has no events.
    """
    if not len(train.timestamp):
        raise ValueError("`train` should have events. Received: none")
    first, last = train.timestamp.min(), train.timestamp.max()
    is_recent = train.timestamp >= last - RECENT * (last - first)
    recent = np.bincount(train.item[is_recent], minlength=len(items) + 1)
    total = np.concatenate([[0], items.train_count])
    return _same_for_all(recent + total / (1.0 + total.max()))


def own_items(items: ItemTable) -> Scorer:
    """The user's own items by their number of events, ties by recency. Other items follow by popularity."""
    by_popularity = popularity(items)

    def score(sequences: SequenceTable, users: np.ndarray) -> np.ndarray:
        size = len(items) + 1
        count = histories(sequences, users, size).toarray()
        # With decay 0.5, an event weighs at least as much as all earlier ones together, and the sum of all weights is
        # below 2. Half of it is below 1, so that recency only breaks ties.
        recency = histories(sequences, users, size, decay=0.5).toarray() / 2
        popular = by_popularity(sequences, users) / (1.0 + items.train_count.max(initial=0))
        return np.where(count > 0, 1.0 + count + recency, popular).astype(np.float32)

    return score


def item_knn(
    items: ItemTable,
    train: SequenceTable,
    *,
    neighbours: int = NEIGHBOURS,
    shrinkage: float = SHRINKAGE,
    decay: float = 1.0,
    keep_own: bool = False,
) -> Scorer:
    """Sum of the similarities between the history's items and the candidate, from common users (Sarwar et al., 2001).

    Args:
      items: the catalogue.
      train: the split that similarities are computed from.
      neighbours, shrinkage: see `trainer.data.cooccurrence.going_together`.
      decay: an event followed by k others of the user has weight decay^k.
      keep_own: whether an item is its own neighbour with similarity 1, for data in which users choose items again.
    """
    return _item_knn(items, _similarities(items, train, neighbours, shrinkage, keep_own), decay)


def _similarities(
    items: ItemTable, train: SequenceTable, neighbours: int, shrinkage: float, keep_own: bool
) -> scipy.sparse.csr_matrix:
    """float32 [n + 1, n + 1]"""
    table = going_together(len(items), train, neighbours, shrinkage)
    size, present = len(items) + 1, table.weight > 0
    starts = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
    similarities = scipy.sparse.csr_matrix((table.weight[present], table.item[present], starts), (size, size))
    return similarities + scipy.sparse.identity(size, np.float32, format="csr") if keep_own else similarities


def _item_knn(items: ItemTable, similarities: scipy.sparse.csr_matrix, decay: float) -> Scorer:
    fallback = _negative_popularity(items)

    def score(sequences: SequenceTable, users: np.ndarray) -> np.ndarray:
        history = histories(sequences, users, similarities.shape[0], decay)
        scores = np.asarray((history @ similarities).todense(), np.float32)
        return np.where(scores > 0, scores, fallback)

    return score


def matrix_factorisation(
    items: ItemTable, train: SequenceTable, confidence: float, regularisation: float, seed: int
) -> Scorer:
    """Implicit alternating least squares (Hu et al., 2008). Users' factors are computed from the scored histories.

    Args:
      items: the catalogue.
      train: the split that the items' factors are learnt from.
      confidence: weight of a (user, item) pair per event; pairs without events have weight 1.
      regularisation: weight of the factors' squared lengths.
      seed: of the initial factors.
    """
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    size, fallback = len(items) + 1, _negative_popularity(items)
    with threadpool_limits(1, "blas"):  # implicit has threads of its own, which BLAS threads would slow down
        model = AlternatingLeastSquares(
            factors=FACTORS, alpha=confidence, regularization=regularisation, random_state=seed
        )
        model.fit(histories(train, np.arange(len(train)), size), show_progress=False)

    def score(sequences: SequenceTable, users: np.ndarray) -> np.ndarray:
        history = histories(sequences, users, size)
        with threadpool_limits(1, "blas"):
            factors = model.recalculate_user(np.arange(len(users)), history)
        scores = np.asarray(factors @ model.item_factors.T, np.float32)
        return np.where(np.diff(history.indptr)[:, np.newaxis] > 0, scores, fallback)

    return score


def text_neighbours(items: ItemTable, text_vectors: np.ndarray, decay: float = 1.0) -> Scorer:
    """Sum of the cosines between the texts of the history's items and the text of the candidate.

    Args:
      items: the catalogue.
      text_vectors: float32 [n + 1, width], see `item_text_vectors`.
      decay: as for `item_knn`.
    """
    fallback = _negative_popularity(items)

    def score(sequences: SequenceTable, users: np.ndarray) -> np.ndarray:
        history = histories(sequences, users, len(text_vectors), decay) @ text_vectors  # [B, width]
        scores = np.asarray(history @ text_vectors.T, np.float32)
        return np.where(history.any(axis=1, keepdims=True), scores, fallback)

    return score


def item_text_vectors(items: ItemTable, train: SequenceTable, texts: TextVectors | None) -> np.ndarray | None:
    """The vector of each item's own text, or else the mean vector of the texts that users wrote with train events.

    Returns:
      float32 [n + 1, width], unit length, zeros for items without texts; None if no item has a text.
    """
    if texts is None:
        return None
    vectors = np.zeros((len(items) + 1, texts.width), np.float32)
    own = np.flatnonzero(items.text_row != NO_TEXT)
    vectors[own + 1] = texts.vectors[items.text_row[own]]
    if train.text_row is not None:
        events = np.flatnonzero((train.text_row != NO_TEXT) & (train.item != UNKNOWN_ITEM))
        events = events[items.text_row[train.item[events] - 1] == NO_TEXT]
        for first in range(0, len(events), TEXTS_AT_ONCE):
            part = events[first : first + TEXTS_AT_ONCE]
            np.add.at(vectors, train.item[part], texts.vectors[train.text_row[part]].astype(np.float32))
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 0, vectors / np.maximum(length, 1e-12), 0.0) if length.any() else None


def tuned_baselines(
    config: Config,
    items: ItemTable,
    train: SequenceTable,
    text_vectors: np.ndarray | None,
    measure: Callable[[Scorer], float],
) -> dict[str, Scorer]:
    """All baselines that the data allows, the simplest first, each with its best settings according to `measure`.

    Args:
      config: the configuration.
      items: the catalogue.
      train: the train split.
      text_vectors: see `item_text_vectors`.
      measure: the quality of a scorer on validation users.
    """
    baselines = {"popularity": popularity(items)}
    if not len(train.item):
        return baselines
    if has_clock(config.data):
        baselines["recent popularity"] = recent_popularity(items, train)
    if not config.data.exclude_history:
        baselines["own items"] = own_items(items)
    keep_own = (False,) if config.data.exclude_history else (False, True)
    similarities = [_similarities(items, train, NEIGHBOURS, SHRINKAGE, own) for own in keep_own]
    baselines["item-kNN"] = _best((_item_knn(items, each, decay) for each in similarities for decay in DECAYS), measure)
    settings = FACTORISATIONS if len(train.item) <= MAX_TUNED_EVENTS else FACTORISATIONS[:1]
    baselines["matrix factorisation"] = _best(
        (matrix_factorisation(items, train, *weights, config.seed) for weights in settings), measure
    )
    if text_vectors is not None:
        baselines["text neighbours"] = _best((text_neighbours(items, text_vectors, decay) for decay in DECAYS), measure)
    return baselines


def histories(sequences: SequenceTable, users: np.ndarray, size: int, decay: float = 1.0) -> scipy.sparse.csr_matrix:
    """The items of users' histories before their targets: float32 [B, size].

    An item's value is the sum of decay^k over its events, where k is the number of later events in the history.
    """
    start = sequences.offsets[:-1][users]
    stop = (sequences.offsets[1:] - sequences.target_count)[users]
    position, row = ranges(start, stop)
    item = sequences.item[position]
    later_events = stop[row] - 1 - position
    weight = decay ** later_events.astype(np.float64)
    known = item != UNKNOWN_ITEM
    matrix = scipy.sparse.csr_matrix((weight[known].astype(np.float32), (row[known], item[known])), (len(users), size))
    matrix.sum_duplicates()
    return matrix


def _same_for_all(scores: np.ndarray) -> Scorer:
    scores = scores.astype(np.float32)

    def score(sequences: SequenceTable, users: np.ndarray) -> np.ndarray:
        return np.broadcast_to(scores, (len(users), len(scores)))

    return score


def _best(scorers: Iterable[Scorer], measure: Callable[[Scorer], float]) -> Scorer:
    best, best_value = None, -np.inf
    for scorer in scorers:  # created one at a time, because each may hold factors of all users
        value = measure(scorer)
        if best is None or value > best_value:
            best, best_value = scorer, value
    assert best is not None
    return best


def _negative_popularity(items: ItemTable) -> np.ndarray:
    """Scores of items without similarity to the history: float32 [n + 1], negative, the more popular the higher."""
    count = np.concatenate([[0], items.train_count])
    return (count / (1.0 + count.max()) - 1.0).astype(np.float32)
