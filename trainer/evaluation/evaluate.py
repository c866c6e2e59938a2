"""The metrics of a run's models and baselines over held-out users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from trainer.config import Config
from trainer.data import ItemTable, SequenceTable
from trainer.evaluation import metrics
from trainer.evaluation.baselines import BASELINES
from trainer.evaluation.full_ranking import Ranked, rank_all, ranks_in, targets_of
from trainer.ranking import RankingModel
from trainer.retrieval import RetrievalModel

COLD = 5  # a target with at most so many train events counts as cold


def evaluate(
    config: Config,
    model: RetrievalModel,
    items: ItemTable,
    sequences: SequenceTable,
    ranking: RankingModel | None = None,
) -> dict[str, Any]:
    """Metrics of the retrieval model, of the ranking model on top of it if there is one, and of the baselines.

    Returns:
      `{"users": n, "retrieval": {"ndcg@10": ...}, "recommend": {...}, "popularity": {...}, "cold": {"users": m,
      "retrieval": {...}, ...}}`; cold counts only targets with at most 5 train events.
    """
    targets = targets_of(sequences)
    users = np.flatnonzero(np.diff(targets.offsets))
    k, cutoffs = max(config.evaluation.cutoffs), config.evaluation.cutoffs
    cold = np.concatenate([[0], items.train_count])[targets.item] <= COLD
    cold_targets = targets.only(cold)
    vectors = model.item_vectors()
    stages: dict[str, Iterator[Ranked]] = {
        "retrieval": rank_all(config, model, items, sequences, k=k, users=users, item_vectors=vectors)
    }
    if ranking is not None:
        stages["recommend"] = rank_all(
            config, model, items, sequences, k=k, users=users, ranking=ranking, item_vectors=vectors
        )
    for name, make in BASELINES.items():
        stages[name] = rank_all(config, make(items), items, sequences, k=k, users=users)
    result: dict[str, Any] = {"users": len(users)}
    slice_result: dict[str, Any] = {"users": int((np.diff(cold_targets.offsets) > 0).sum())}
    for name, ranked in stages.items():
        ranks = ranks_in(ranked, targets)
        result[name] = metrics.from_ranks(ranks, targets.offsets, cutoffs)
        slice_result[name] = metrics.from_ranks(ranks[cold], cold_targets.offsets, cutoffs)
    return {**result, "cold": slice_result}
