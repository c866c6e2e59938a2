"""Where the items' id embeddings start: at what people wrote about the items, and at what they took along with them."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from trainer.config import Config
from trainer.data.cooccurrence import pairs_in_order
from trainer.data.tables import NO_TEXT, SequenceTable, TextVectors

_AT_ONCE = 65_536
_LAGS = (1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5)  # weight of a pair with none, one, ... events between
_MOST_EVENTS = 5_000_000  # that are paired: of more, every second, third, ... user's
_UNSURE = 20  # events at which what an item is taken with counts half, and its direction 1 / sqrt(2)
_CONTEXT_POWER = 0.75  # of the frequency of what an item is seen beside: chance meetings with rare items say less


def initial_directions(config: Config, items: int, train: SequenceTable, texts: TextVectors | None) -> np.ndarray:
    """Where `config.model` lets the id embeddings start: from what was written, and otherwise from what was taken.

    Not from both: on small data with reviews, where few users speak for a pair of items, neighbours beside the reviews
    gained nothing, and items with few events lost.

    Returns:
      float32 [n + 1, dim], rows of length 1 or less, zeros where nothing is known.
    """
    dim = config.model.dim
    start = np.zeros((items + 1, dim), np.float32)
    if config.model.use_item_reviews and texts is not None:
        start = from_reviews(items, train, texts, dim)
    if config.model.use_item_neighbours and not start.any():
        start = from_neighbours(items, train, dim, config.seed)
    return start


def from_reviews(items: int, train: SequenceTable, texts: TextVectors, dim: int) -> np.ndarray:
    """A direction for each item that somebody wrote about in the train split, from what was written.

    The mean of an item's reviews and queries, less the mean of all, along the `dim` directions in which items differ
    most. Items that people speak of in the same words start close to each other, so that an item with few events has
    neighbours to learn from. From there on training moves each embedding as it likes. It is a start and not an input,
    for an input would show a position the very text that comes with the event it is to predict.

    Args:
      items: the catalogue's size n.
      train: the train split.
      texts: vectors of all texts.
      dim: width of the result.

    Returns:
      float32 [n + 1, dim] of length 1, zeros for items that nobody wrote about and for the unknown item.
    """
    total = np.zeros((items + 1, texts.width), np.float32)
    count = np.zeros(items + 1, np.int64)
    for column in (train.text_row, train.query_row):
        if column is None:
            continue
        said = np.flatnonzero(column != NO_TEXT)
        for first in range(0, len(said), _AT_ONCE):
            rows = said[first : first + _AT_ONCE]
            np.add.at(total, train.item[rows], texts.vectors[column[rows]].astype(np.float32))
        count += np.bincount(train.item[said], minlength=items + 1)
    count[0] = 0
    known = np.flatnonzero(count)
    result = np.zeros((items + 1, dim), np.float32)
    if len(known) < 2:
        return result
    means = total[known] / count[known, np.newaxis] - total[known].sum(axis=0) / count.sum()
    kept = min(dim, texts.width)
    directions = np.linalg.eigh(np.cov(means.T))[1][:, ::-1][:, :kept]  # [width, kept]
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(kept)]
    projected = means @ (directions * np.sign(largest))  # an eigenvector's sign is arbitrary; fixed, a seed repeats
    result[known, :kept] = projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-9)
    return result


def from_neighbours(items: int, train: SequenceTable, dim: int, seed: int) -> np.ndarray:
    """A direction for each item, from what users took shortly before and after it.

    The positive pointwise mutual information of pairs of items, factorised: what word2vec arrives at step by step (Levy
    & Goldberg, 2014), at once. Items with the same neighbours start close to each other, and training has to learn who
    takes what rather than first what goes with what.

    Args:
      items: the catalogue's size n.
      train: the train split.
      dim: width of the result.
      seed: of the randomised factorisation (Halko et al., 2011).

    Returns:
      float32 [n + 1, dim], rows of a length below 1 that grows with the item's events, zeros for items that nobody took
      with another and for the unknown item.
    """
    from sklearn.utils.extmath import randomized_svd  # a second to import, which only training should pay

    pairs = pairs_in_order(items, train, _LAGS, _MOST_EVENTS)
    pairs = (pairs + pairs.T).tocoo()
    result = np.zeros((items + 1, dim), np.float32)
    if not pairs.nnz:
        return result
    total = np.asarray(pairs.sum(axis=1)).ravel()
    context = total**_CONTEXT_POWER / (total**_CONTEXT_POWER).sum()
    information = np.log(pairs.data / (total[pairs.row] * context[pairs.col]))
    kept = information > 0
    positive = scipy.sparse.csr_matrix((information[kept], (pairs.row[kept], pairs.col[kept])), pairs.shape)
    width = min(dim, items)
    directions, sizes, _ = randomized_svd((positive + positive.T) / 2, width, n_iter=4, random_state=seed)
    placed = directions * np.sqrt(sizes)
    length = np.linalg.norm(placed, axis=1, keepdims=True)
    events = np.bincount(train.item, minlength=items + 1)[:, np.newaxis]
    sure = np.sqrt(events / (events + _UNSURE))
    result[:, :width] = np.where(length > 1e-6, sure * placed / np.maximum(length, 1e-6), 0.0)
    return result
