"""Recommenders that a model has to beat. Each one sees the train split and the user's history, and nothing else."""

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

RECENT = 0.1  # of the train split's time is "recently"
NEIGHBOURS = 200  # of each item
DECAYS = (1.0, 0.9, 0.7)  # weight of an event, for each event that the user had since; the best on validation is taken
FACTORS = 64  # of the matrix factorisation
# Weight of an event beside that of a pair without any, and of the penalty; the best on validation is taken. How good
# the factorisation is hangs on them (Rendle et al., 2022).
FACTORISATIONS = ((10.0, 10.0), (1.0, 10.0), (40.0, 100.0), (100.0, 300.0))
MOST_TUNED = 2_000_000  # train events up to which the matrix factorisation is tuned
_AT_ONCE = 65_536  # texts


def popularity(items: ItemTable) -> Scorer:
    """The number of train events; equal counts rank in the order of the catalogue."""
    return _for_everybody(np.concatenate([[0], items.train_count]))


def recent_popularity(items: ItemTable, train: SequenceTable) -> Scorer:
    """The number of events in the last tenth of the train split's time; equal counts by all events.

    Raises:
      ValueError: the train split has no events.
    """
    if not len(train.timestamp):
        raise ValueError("`train` should have events. Received: none")
    first, last = train.timestamp.min(), train.timestamp.max()
    late = train.timestamp >= last - RECENT * (last - first)
    recent = np.bincount(train.item[late], minlength=len(items) + 1)
    everything = np.concatenate([[0], items.train_count])
    return _for_everybody(recent + everything / (1.0 + everything.max()))


def own_items(items: ItemTable) -> Scorer:
    """The user's own items by how often they come in the history; of equals the later one. Others by popularity."""
    rest = popularity(items)

    def score(sequences: SequenceTable, users: np.ndarray) -> np.ndarray:
        size = len(items) + 1
        often = histories(sequences, users, size).toarray()
        # An event weighs more than all that came before it, and all of them less than 2: this only decides ties.
        lately = histories(sequences, users, size, decay=0.5).toarray() / 2
        popular = rest(sequences, users) / (1.0 + items.train_count.max(initial=0))
        return np.where(often > 0, 1.0 + often + lately, popular).astype(np.float32)

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
    """Sum over a history of each item's similarity to the candidate, over who has them (Sarwar et al., 2001).

    Args:
      items: the catalogue.
      train: what the similarities are of.
      neighbours, shrinkage: of the similarities, see `trainer.data.cooccurrence.going_together`.
      decay: an event followed by k others of the user counts decay^k.
      keep_own: whether an item is its own nearest neighbour: where what was taken may be taken again.
    """
    return _item_knn(items, _similarities(items, train, neighbours, shrinkage, keep_own), decay)


def _similarities(
    items: ItemTable, train: SequenceTable, neighbours: int, shrinkage: float, keep_own: bool
) -> scipy.sparse.csr_matrix:
    found = going_together(len(items), train, neighbours, shrinkage)
    size, there = len(items) + 1, found.weight > 0
    starts = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    similar = scipy.sparse.csr_matrix((found.weight[there], found.item[there], starts), (size, size))
    return similar + scipy.sparse.identity(size, np.float32, format="csr") if keep_own else similar


def _item_knn(items: ItemTable, similar: scipy.sparse.csr_matrix, decay: float) -> Scorer:
    rest = _below(items)

    def score(sequences: SequenceTable, users: np.ndarray) -> np.ndarray:
        found = np.asarray((histories(sequences, users, similar.shape[0], decay) @ similar).todense(), np.float32)
        return np.where(found > 0, found, rest)

    return score


def matrix_factorisation(
    items: ItemTable, train: SequenceTable, confidence: float, regularisation: float, seed: int
) -> Scorer:
    """Implicit alternating least squares (Hu et al., 2008), users' factors made from what they have now.

    Args:
      items: the catalogue.
      train: what the items' factors are learnt from.
      confidence: weight of a pair for each event it has; one without any has weight 1.
      regularisation: weight of the factors' squared lengths.
      seed: of the factors' start.
    """
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    size, rest = len(items) + 1, _below(items)
    with threadpool_limits(1, "blas"):  # it has threads of its own, and says how much slower theirs would make it
        model = AlternatingLeastSquares(
            factors=FACTORS, alpha=confidence, regularization=regularisation, random_state=seed
        )
        model.fit(histories(train, np.arange(len(train)), size), show_progress=False)

    def score(sequences: SequenceTable, users: np.ndarray) -> np.ndarray:
        read = histories(sequences, users, size)
        with threadpool_limits(1, "blas"):
            factors = model.recalculate_user(np.arange(len(users)), read)
        found = np.asarray(factors @ model.item_factors.T, np.float32)
        return np.where(np.diff(read.indptr)[:, np.newaxis] > 0, found, rest)

    return score


def text_neighbours(items: ItemTable, about: np.ndarray, decay: float = 1.0) -> Scorer:
    """Sum over a history of the cosines between what is written about its items and about the candidate.

    Args:
      items: the catalogue.
      about: float32 [n + 1, width], see `written_of_items`.
      decay: as for `item_knn`.
    """
    rest = _below(items)

    def score(sequences: SequenceTable, users: np.ndarray) -> np.ndarray:
        read = histories(sequences, users, len(about), decay) @ about  # [B, width]
        return np.where(read.any(axis=1, keepdims=True), np.asarray(read @ about.T, np.float32), rest)

    return score


def written_of_items(items: ItemTable, train: SequenceTable, texts: TextVectors | None) -> np.ndarray | None:
    """What is written about each item: its own text, or else the mean of what users wrote with train events of it.

    Returns:
      float32 [n + 1, width], unit length, zeros where nothing is written; None if nothing is about any.
    """
    if texts is None:
        return None
    about = np.zeros((len(items) + 1, texts.width), np.float32)
    own = np.flatnonzero(items.text_row != NO_TEXT)
    about[own + 1] = texts.vectors[items.text_row[own]]
    if train.text_row is not None:
        wrote = np.flatnonzero((train.text_row != NO_TEXT) & (train.item != UNKNOWN_ITEM))
        wrote = wrote[items.text_row[train.item[wrote] - 1] == NO_TEXT]
        for first in range(0, len(wrote), _AT_ONCE):
            some = wrote[first : first + _AT_ONCE]
            np.add.at(about, train.item[some], texts.vectors[train.text_row[some]].astype(np.float32))
    length = np.linalg.norm(about, axis=1, keepdims=True)
    return np.where(length > 0, about / np.maximum(length, 1e-12), 0.0) if length.any() else None


def tuned_baselines(
    config: Config,
    items: ItemTable,
    train: SequenceTable,
    about: np.ndarray | None,
    measure: Callable[[Scorer], float],
) -> dict[str, Scorer]:
    """All that the data allows, from the simplest on; what they can be tuned by is what measures best.

    Args:
      config: the configuration.
      items: the catalogue.
      train: the train split.
      about: see `written_of_items`.
      measure: how good a scorer is on what was held out for choosing.
    """
    found = {"popularity": popularity(items)}
    if not len(train.item):
        return found
    if has_clock(config.data):
        found["recent popularity"] = recent_popularity(items, train)
    if not config.data.exclude_history:
        found["own items"] = own_items(items)
    kept = (False,) if config.data.exclude_history else (False, True)
    similar = [_similarities(items, train, NEIGHBOURS, SHRINKAGE, own) for own in kept]
    found["item-kNN"] = _best((_item_knn(items, each, decay) for each in similar for decay in DECAYS), measure)
    tried = FACTORISATIONS if len(train.item) <= MOST_TUNED else FACTORISATIONS[:1]
    found["matrix factorisation"] = _best(
        (matrix_factorisation(items, train, *weights, config.seed) for weights in tried), measure
    )
    if about is not None:
        found["text neighbours"] = _best((text_neighbours(items, about, decay) for decay in DECAYS), measure)
    return found


def histories(sequences: SequenceTable, users: np.ndarray, size: int, decay: float = 1.0) -> scipy.sparse.csr_matrix:
    """What users have before their targets: float32 [B, size], the sum of decay^k over an item's events, k later ones
    of the user."""
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


def _for_everybody(scores: np.ndarray) -> Scorer:
    scores = scores.astype(np.float32)

    def score(sequences: SequenceTable, users: np.ndarray) -> np.ndarray:
        return np.broadcast_to(scores, (len(users), len(scores)))

    return score


def _best(scorers: Iterable[Scorer], measure: Callable[[Scorer], float]) -> Scorer:
    best, most = None, -np.inf
    for scorer in scorers:  # one at a time: each may hold factors of all users
        measured = measure(scorer)
        if best is None or measured > most:
            best, most = scorer, measured
    assert best is not None
    return best


def _below(items: ItemTable) -> np.ndarray:
    """For items that nothing speaks for: below 0, the more popular the higher, float32 [n + 1]."""
    count = np.concatenate([[0], items.train_count])
    return (count / (1.0 + count.max()) - 1.0).astype(np.float32)
