"""Validation of the retrieval model during its training."""

from __future__ import annotations

import numpy as np

from trainer.config import Config
from trainer.data.tables import ItemTable, SequenceTable
from trainer.evaluation import metrics
from trainer.evaluation.full_ranking import rank_all, ranks_in, targets_of
from trainer.retrieval.model import RetrievalModel


class Validation:
    """NDCG@10 and hit rate of the validation targets, over the full catalogue."""

    def __init__(self, config: Config, model: RetrievalModel, items: ItemTable, validation: SequenceTable) -> None:
        self._arguments = (config, model, items, validation)
        self._targets = targets_of(validation)
        users = np.flatnonzero(np.diff(self._targets.offsets))
        most = config.retrieval.max_validation_users
        if len(users) > most:
            users = np.sort(np.random.default_rng(config.seed).choice(users, most, replace=False))
        self._users = users

    def __call__(self) -> dict[str, float]:
        ranks = ranks_in(rank_all(*self._arguments, k=10, users=self._users), self._targets)
        counted = np.zeros(len(self._targets.offsets) - 1, bool)
        counted[self._users] = True
        kept = self._targets.only(counted[self._targets.user])
        values = metrics.from_ranks(ranks[counted[self._targets.user]], kept.offsets, [10])
        return {"ndcg@10": values["ndcg@10"], "hit_rate@10": values["hit_rate@10"]}
