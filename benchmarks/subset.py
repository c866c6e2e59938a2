"""A dataset with fewer users, for trying a benchmark and for measuring how cost grows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trainer.data.dataset import Dataset
from trainer.data.tables import take_users


def sample_users(dataset: Dataset, count: int, seed: int = 1) -> Dataset:
    """The dataset with at most `count` users, chosen by the seed. The catalogue stays complete."""
    names = np.unique(np.concatenate([table.user_id for table in dataset.splits.values()]).astype(str))
    chosen = np.random.default_rng(seed).permutation(names)[:count]
    splits = {
        name: take_users(table, np.flatnonzero(np.isin(table.user_id.astype(str), chosen)))
        for name, table in dataset.splits.items()
    }
    train_count = np.bincount(splits["train"].item, minlength=len(dataset.items) + 1)[1:]
    return replace(dataset, splits=splits, items=replace(dataset.items, train_count=train_count))
