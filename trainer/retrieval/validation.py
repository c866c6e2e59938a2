"""Validation of the retrieval model during its training."""

from __future__ import annotations

import numpy as np

from trainer.config import Config
from trainer.data.tables import ItemTable, SequenceTable
from trainer.evaluation import metrics
from trainer.evaluation.full_ranking import RankingTask, rank_with_model, target_ranks
from trainer.evaluation.targets import targets_of
from trainer.retrieval.model import RetrievalModel


class Validation:
    """NDCG@10 and hit rate of the validation targets, over the full catalogue."""

    def __init__(self, config: Config, model: RetrievalModel, items: ItemTable, validation: SequenceTable) -> None:
        self._model = model
        self._targets = targets_of(validation)
        users = np.flatnonzero(np.diff(self._targets.offsets))
        most = config.retrieval.max_validation_users
        if len(users) > most:
            users = np.sort(np.random.default_rng(config.seed).choice(users, most, replace=False))
        self._task = RankingTask(config, items, validation, k=10, users=users)
        self._counted = np.isin(self._targets.user, users)

    def __call__(self) -> dict[str, float]:
        ranks = target_ranks(rank_with_model(self._task, self._model), self._targets)
        values = metrics.from_ranks(ranks[self._counted], self._targets.subset(self._counted).offsets, [10])
        return {name: values[name] for name in ("ndcg@10", "hit_rate@10")}
