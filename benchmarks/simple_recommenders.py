"""Recommenders without a model, tuned over more settings than an evaluation does, and their metrics."""

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
    keep_own_choices = (False, True) if not config.data.exclude_history else (False,)
    best, best_scorer = -1.0, None
    for neighbours, shrinkage, decay, keep_own in itertools.product(NEIGHBOURS, SHRINKAGES, DECAYS, keep_own_choices):
        scorer = item_knn(items, train, neighbours=neighbours, shrinkage=shrinkage, decay=decay, keep_own=keep_own)
        ndcg = measure(config, scorer, items, validation)["ndcg@10"]
        if ndcg > best:
            best, best_scorer = ndcg, scorer
    assert best_scorer is not None
    return best_scorer


def measure(config: Config, scorer: Scorer, items: ItemTable, sequences: SequenceTable) -> dict[str, float]:
    """Metrics over the held-out users in full ranking, as `trainer.evaluation.evaluate` computes them for a model."""
    targets = targets_of(sequences)
    users = np.flatnonzero(np.diff(targets.offsets))
    task = RankingTask(config, items, sequences, k=100, users=users)
    ranks = target_ranks(rank_with_scorer(task, scorer), targets)
    return metrics.from_ranks(ranks, targets.offsets, (10, 100))
