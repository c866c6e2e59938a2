"""Recommenders without a model that are tuned more than an evaluation tunes them, and their figures."""

from __future__ import annotations

import itertools

import numpy as np

from trainer.config import Config
from trainer.data.tables import ItemTable, SequenceTable
from trainer.evaluation import metrics
from trainer.evaluation.baselines import DECAYS, item_knn
from trainer.evaluation.full_ranking import RankingTask, rank_with_scorer, target_ranks
from trainer.evaluation.protocols import Scorer
from trainer.evaluation.targets import targets_of

NEIGHBOURS = (50, 500)
SHRINKAGES = (0.0, 10.0, 100.0)


def tuned_item_knn(config: Config, items: ItemTable, train: SequenceTable, validation: SequenceTable) -> Scorer:
    """The item-kNN with the best validation NDCG@10 over `NEIGHBOURS`, `SHRINKAGES` and `DECAYS`."""
    own = (False, True) if not config.data.exclude_history else (False,)
    best, chosen = -1.0, None
    for neighbours, shrinkage, decay, keep_own in itertools.product(NEIGHBOURS, SHRINKAGES, DECAYS, own):
        scorer = item_knn(items, train, neighbours=neighbours, shrinkage=shrinkage, decay=decay, keep_own=keep_own)
        found = measure(config, scorer, items, validation)["ndcg@10"]
        if found > best:
            best, chosen = found, scorer
    assert chosen is not None
    return chosen


def measure(config: Config, scorer: Scorer, items: ItemTable, sequences: SequenceTable) -> dict[str, float]:
    """Metrics over the held-out users, full ranking, as `trainer.evaluation.evaluate` has them for a model."""
    targets = targets_of(sequences)
    users = np.flatnonzero(np.diff(targets.offsets))
    task = RankingTask(config, items, sequences, k=100, users=users)
    ranks = target_ranks(rank_with_scorer(task, scorer), targets)
    return metrics.from_ranks(ranks, targets.offsets, (10, 100))
