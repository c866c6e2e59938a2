"""Recommenders that a model has to beat. Each one sees the train split and the user's history, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainer.data import ItemTable, SequenceTable

# Scores of every item for some users: (sequences, int64 [B] rows of it) -> float32 [B, n + 1]. Column 0 is not read.
# A scorer may look at the events before a user's targets only.
Scorer = Callable[[SequenceTable, np.ndarray], np.ndarray]


def popularity(items: ItemTable) -> Scorer:
    """The number of train events; equal counts rank in the order of the catalogue."""
    scores = np.concatenate([[0], items.train_count]).astype(np.float32)

    def score(sequences: SequenceTable, users: np.ndarray) -> np.ndarray:
        return np.broadcast_to(scores, (len(users), len(scores)))

    return score


# What `evaluate` puts beside the model: name -> the scorer made from the catalogue.
BASELINES: dict[str, Callable[[ItemTable], Scorer]] = {"popularity": popularity}
