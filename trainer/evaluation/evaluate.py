"""The mean metrics of a run's recommenders over held-out users."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.config import Config
from trainer.data.tables import ItemTable, SequenceTable
from trainer.evaluation import metrics
from trainer.evaluation.baselines import popularity
from trainer.evaluation.protocols import Ranker, Retriever
from trainer.evaluation.slices import COLD_EVENTS
from trainer.evaluation.stages import Stages, rank_stages


def evaluate(
    config: Config,
    model: Retriever,
    items: ItemTable,
    sequences: SequenceTable,
    ranking: Ranker | None = None,
) -> dict[str, Any]:
    """The `means` of the retrieval model, of the ranking model on top of it if there is one, and of popularity."""
    stages = rank_stages(config, model, items, sequences, ranking, {"popularity": popularity(items)})
    return means(config, stages, items)


def means(config: Config, stages: Stages, items: ItemTable) -> dict[str, Any]:
    """The metrics' means over users, for all targets and for cold ones.

    Returns:
      `{"users": n, "stages": {"retrieval": {"ndcg@10": ...}, ...}, "cold": {"users": m, "stages": {...}}}`; `cold`
      counts only the targets with at most COLD_EVENTS train events.
    """
    cold = cold_targets(stages, items)
    return {
        **_means(config, stages, np.ones(len(cold), bool)),
        "cold": _means(config, stages, cold),
    }


def cold_targets(stages: Stages, items: ItemTable) -> np.ndarray:
    """Which targets have at most COLD_EVENTS train events: bool [targets]."""
    return np.concatenate([[0], items.train_count])[stages.targets.item] <= COLD_EVENTS


def _means(config: Config, stages: Stages, mask: np.ndarray) -> dict[str, Any]:
    targets, cutoffs = stages.targets.subset(mask), config.evaluation.cutoffs
    return {
        "users": int((np.diff(targets.offsets) > 0).sum()),
        "stages": {
            name: metrics.from_ranks(stage.ranks[mask], targets.offsets, cutoffs)
            for name, stage in stages.by_name.items()
        },
    }
