"""The recommenders of a run on its held-out users: the ranks of the targets, and the recommended lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from trainer.config import Config
from trainer.data.tables import ItemTable, SequenceTable
from trainer.evaluation.full_ranking import (
    RankedBatch,
    RankingTask,
    rank_with_model,
    rank_with_scorer,
    target_ranks,
)
from trainer.evaluation.protocols import Ranker, Retriever, Scorer
from trainer.evaluation.targets import Targets, targets_of


@dataclass(frozen=True)
class Stage:
    """The results of one recommender.

    Attributes:
      ranks: int64 [targets], from 1; 0 where a target is on no list.
      lists: int32 [users with targets, list_length] item indices, UNKNOWN_ITEM after the end of a list.
    """

    ranks: np.ndarray
    lists: np.ndarray


@dataclass(frozen=True)
class Stages:
    """The results of all recommenders, for the same held-out users.

    Attributes:
      users: int64 [U], rows of the sequence table that have targets, ascending.
      targets: the targets of all rows of the sequence table.
      list_length: number of items stored for each list.
      by_name: name of a recommender -> its results.
    """

    users: np.ndarray
    targets: Targets
    list_length: int
    by_name: dict[str, Stage]


def rank_stages(
    config: Config,
    model: Retriever,
    items: ItemTable,
    sequences: SequenceTable,
    ranking: Ranker | None,
    baselines: Mapping[str, Scorer],
) -> Stages:
    """Ranks the whole catalogue by each recommender.

    Args:
      config: the configuration.
      model: the retrieval model, attached to the catalogue.
      items: the catalogue.
      sequences: the split.
      ranking: the ranking model on top, or None.
      baselines: name -> scorer.
    """
    targets = targets_of(sequences)
    users = np.flatnonzero(np.diff(targets.offsets))
    task = RankingTask(config, items, sequences, k=max(config.evaluation.cutoffs), users=users)
    vectors = model.item_vectors()
    batches = {"retrieval": rank_with_model(task, model, item_vectors=vectors)}
    if ranking is not None:
        batches["recommend"] = rank_with_model(task, model, ranking, vectors)
    for name, scorer in baselines.items():
        batches[name] = rank_with_scorer(task, scorer)
    length = min(config.evaluation.list_length, task.list_length)
    stages = {name: collect(ranked, targets, users, length) for name, ranked in batches.items()}
    return Stages(users, targets, length, stages)


def collect(batches: Iterator[RankedBatch], targets: Targets, users: np.ndarray, length: int) -> Stage:
    """The ranks of the targets, and the first `length` items of each user's list."""
    lists = np.zeros((len(users), length), np.int32)

    def with_lists_stored() -> Iterator[RankedBatch]:
        for batch in batches:
            lists[np.searchsorted(users, batch.users)] = batch.items[:, :length]
            yield batch

    return Stage(target_ranks(with_lists_stored(), targets), lists)
