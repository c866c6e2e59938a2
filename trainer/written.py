"""What people wrote about items, as the place where the items' id embeddings start."""

from __future__ import annotations

import numpy as np

from trainer.data import NO_TEXT, SequenceTable, TextVectors

_AT_ONCE = 65_536


def written_about(items: int, train: SequenceTable, texts: TextVectors, dim: int) -> np.ndarray:
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
