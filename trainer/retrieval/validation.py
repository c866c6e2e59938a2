"""Validates the retrieval model during its training."""

from __future__ import annotations

import numpy as np

from trainer.config import Config
from trainer.data.tables import ItemTable, SequenceTable
from trainer.evaluation import metrics
from trainer.evaluation.full_ranking import RankingTask, rank_with_model, target_ranks
from trainer.evaluation.targets import targets_of
from trainer.retrieval.model import RetrievalModel


class Validation:
    """Computes NDCG@10 and hit rate@10 of the validation targets, with the whole catalogue as candidates.

    If the split has more users with targets than `config.retrieval.max_validation_users`, a random sample of that size
    is used, the same one every time.
    """

    def __init__(self, config: Config, model: RetrievalModel, items: ItemTable, validation: SequenceTable) -> None:
        self._model = model
        self._targets = targets_of(validation)
        users = np.flatnonzero(np.diff(self._targets.offsets))
        max_users = config.retrieval.max_validation_users
        if len(users) > max_users:
            users = np.sort(np.random.default_rng(config.seed).choice(users, max_users, replace=False))
        self._task = RankingTask(config, items, validation, k=10, users=users)
        self._mask = np.isin(self._targets.user, users)

    def __call__(self) -> dict[str, float]:
        """`ndcg@10` and `hit_rate@10` of the model with its current weights."""
        ranks = target_ranks(rank_with_model(self._task, self._model), self._targets)
        values = metrics.from_ranks(ranks[self._mask], self._targets.subset(self._mask).offsets, [10])
        return {name: values[name] for name in ("ndcg@10", "hit_rate@10")}
