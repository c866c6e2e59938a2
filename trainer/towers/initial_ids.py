"""Initial values of the items' id embeddings, from reviews of the items or from their neighbours in histories."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from trainer.config import Config
from trainer.data.cooccurrence import pairs_in_order
from trainer.data.tables import NO_TEXT, SequenceTable, TextVectors
from trainer.towers.whitening import with_fixed_signs

_TEXTS_AT_ONCE = 65_536
_LAGS = (1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5)  # weights of a pair of events at distance 1, 2, ...
_MAX_EVENTS = 5_000_000  # about the largest number of events to pair, see `pairs_in_order`
_HALF_CONFIDENCE_EVENTS = 20  # number of events with which a direction has length sqrt(1/2); more make it longer
_CONTEXT_POWER = 0.75  # exponent of neighbours' frequencies, as in word2vec: chance pairs with rare items weigh less


def initial_directions(config: Config, items: int, train: SequenceTable, texts: TextVectors | None) -> np.ndarray:
    """Directions for the id embeddings: from reviews, or else from neighbours, if `config.model` enables these.

    The two are not combined. On small data with reviews, where few users have both items of a pair, neighbours in
    addition to reviews gained nothing and made items with few events worse.

    Returns:
      float32 [n + 1, dim], rows of length 1 or less, zeros for items without data.
    """
    dim = config.model.dim
    directions = np.zeros((items + 1, dim), np.float32)
    if config.model.use_item_reviews and texts is not None:
        directions = from_reviews(items, train, texts, dim)
    if config.model.use_item_neighbours and not directions.any():
        directions = from_neighbours(items, train, dim, config.seed)
    return directions


def from_reviews(items: int, train: SequenceTable, texts: TextVectors, dim: int) -> np.ndarray:
    """A direction for each item, from the reviews and queries of its train events.

    An item's text vectors are averaged, the mean of all text vectors is subtracted, and the result is projected onto
    the `dim` principal components of the items and scaled to length 1. Items with similar reviews start close to each
    other, so that an item with few events has neighbours to learn from. Training then moves each embedding freely. The
    item tower does not read reviews: a position would then see the text of the very event that it predicts.

    Args:
      items: the catalogue's size n.
      train: the train split.
      texts: vectors of all texts.
      dim: width of the result.

    Returns:
      float32 [n + 1, dim], rows of length 1, zeros for items without texts and for the unknown item.
    """
    total = np.zeros((items + 1, texts.width), np.float32)
    count = np.zeros(items + 1, np.int64)
    for column in (train.text_row, train.query_row):
        if column is None:
            continue
        events = np.flatnonzero(column != NO_TEXT)
        for first in range(0, len(events), _TEXTS_AT_ONCE):
            part = events[first : first + _TEXTS_AT_ONCE]
            np.add.at(total, train.item[part], texts.vectors[column[part]].astype(np.float32))
        count += np.bincount(train.item[events], minlength=items + 1)
    count[0] = 0
    known = np.flatnonzero(count)
    result = np.zeros((items + 1, dim), np.float32)
    if len(known) < 2:
        return result
    means = total[known] / count[known, np.newaxis] - total[known].sum(axis=0) / count.sum()
    width = min(dim, texts.width)
    directions = np.linalg.eigh(np.cov(means.T))[1][:, ::-1][:, :width]  # [texts.width, width]
    projected = means @ with_fixed_signs(directions)
    result[known, :width] = projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-9)
    return result


def from_neighbours(items: int, train: SequenceTable, dim: int, seed: int) -> np.ndarray:
    """A direction for each item, from the items that users took shortly before and after it.

    Factorises the matrix of positive pointwise mutual information of pairs of items, which word2vec factorises
    implicitly (Levy & Goldberg, 2014). Items with the same neighbours start close to each other, so that training need
    not first learn which items belong together.

    Args:
      items: the catalogue's size n.
      train: the train split.
      dim: width of the result.
      seed: seed of the randomised factorisation (Halko et al., 2011).

    Returns:
      float32 [n + 1, dim], rows shorter than 1 whose length grows with the item's number of events; zeros for items
      without neighbours and for the unknown item.
    """
    from sklearn.utils.extmath import randomized_svd  # takes a second to import, and only training needs it

    pairs = pairs_in_order(items, train, _LAGS, _MAX_EVENTS)
    pairs = (pairs + pairs.T).tocoo()
    result = np.zeros((items + 1, dim), np.float32)
    if not pairs.nnz:
        return result
    total = np.asarray(pairs.sum(axis=1)).ravel()
    context = total**_CONTEXT_POWER / (total**_CONTEXT_POWER).sum()
    information = np.log(pairs.data / (total[pairs.row] * context[pairs.col]))
    mask = information > 0
    positive = scipy.sparse.csr_matrix((information[mask], (pairs.row[mask], pairs.col[mask])), pairs.shape)
    width = min(dim, items)
    vectors, singular_values, _ = randomized_svd((positive + positive.T) / 2, width, n_iter=4, random_state=seed)
    embeddings = vectors * np.sqrt(singular_values)
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    events = np.bincount(train.item, minlength=items + 1)[:, np.newaxis]
    confidence = np.sqrt(events / (events + _HALF_CONFIDENCE_EVENTS))
    result[:, :width] = np.where(length > 1e-6, confidence * embeddings / np.maximum(length, 1e-6), 0.0)
    return result
