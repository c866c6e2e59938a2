"""What each recommender of a run gives the held-out users: ranks of the targets, and the lists themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from trainer.config import Config
from trainer.data.tables import ItemTable, SequenceTable
from trainer.evaluation.baselines import Scorer
from trainer.evaluation.full_ranking import RankedBatch, Targets, rank_all, ranks_in, targets_of
from trainer.evaluation.protocols import Ranker, Retriever


@dataclass(frozen=True)
class Stage:
    """One recommender.

    Attributes:
      ranks: int64 [targets], from 1; 0 where a target is on no list.
      lists: int32 [users with targets, list_length] item indices, UNKNOWN_ITEM where a list has ended.
    """

    ranks: np.ndarray
    lists: np.ndarray


@dataclass(frozen=True)
class Stages:
    """All recommenders, over the same held-out users.

    Attributes:
      users: int64 [U], rows of the sequence table that have targets, ascending.
      targets: of all rows of the sequence table.
      list_length: items of a list that are kept.
    """

    users: np.ndarray
    targets: Targets
    list_length: int
    of: dict[str, Stage]


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
    k = max(config.evaluation.cutoffs)
    vectors = model.item_vectors()
    ranked: dict[str, Iterator[RankedBatch]] = {
        "retrieval": rank_all(config, model, items, sequences, k=k, users=users, item_vectors=vectors)
    }
    if ranking is not None:
        ranked["recommend"] = rank_all(
            config, model, items, sequences, k=k, users=users, ranking=ranking, item_vectors=vectors
        )
    for name, scorer in baselines.items():
        ranked[name] = rank_all(config, scorer, items, sequences, k=k, users=users)
    length = min(config.evaluation.list_length, k, len(items))
    stages = {name: _stage(lists, targets, users, length) for name, lists in ranked.items()}
    return Stages(users, targets, length, stages)


def _stage(ranked: Iterator[RankedBatch], targets: Targets, users: np.ndarray, length: int) -> Stage:
    lists = np.zeros((len(users), length), np.int32)

    def kept() -> Iterator[RankedBatch]:
        for batch in ranked:
            lists[np.searchsorted(users, batch.users)] = batch.items[:, :length]
            yield batch

    return Stage(ranks_in(kept(), targets), lists)
