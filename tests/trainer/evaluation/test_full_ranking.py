from __future__ import annotations

from typing import Any

import numpy as np

from tests.trainer import tables
from trainer.config import Config
from trainer.data.tables import SequenceTable
from trainer.evaluation.baselines import popularity
from trainer.evaluation.full_ranking import RankingTask, rank_with_scorer, target_ranks
from trainer.evaluation.targets import targets_of


def lists(config: Config, counts: list[int], sequences: SequenceTable, **options: Any) -> dict:
    """User -> list by popularity, where items with a count of 0 occur nowhere."""
    items = tables.item_table(len(counts), np.array(counts), occurs=np.array(counts) > 0)
    ranked = rank_with_scorer(RankingTask(config, items, sequences, **options), popularity(items))
    return {int(u): list(row) for batch in ranked for u, row in zip(batch.users, batch.items, strict=True)}


def test_own_items_are_left_out_and_the_tail_is_padded() -> None:
    sequences = tables.sequence_table([[1, 2, 3], [4, 4]], targets=1)
    result = lists(tables.make_config("order"), [9, 8, 7, 6], sequences, k=4)
    assert result == {0: [3, 4, 0, 0], 1: [1, 2, 3, 0]}


def test_own_items_stay_where_purchases_repeat() -> None:
    sequences = tables.sequence_table([[1, 2, 3]], targets=1)
    config = tables.make_config("order", data={"exclude_history": False})
    assert lists(config, [9, 8, 7, 6], sequences, k=3) == {0: [1, 2, 3]}


def test_items_of_the_last_seconds_are_left_out() -> None:
    """Counted back from the target's time, or from the last event's where requests do not know theirs."""
    rows = [[1, 2, 3, 1], [4, 1], [2], []]
    times = np.array([100, 200, 1000, 1100, 150, 260, 50])
    sequences = tables.sequence_table(rows, targets=0, timestamp=times)
    sequences.target_count[:] = [1, 1, 0, 0]
    for with_timestamp in (True, False):
        config = tables.make_config(
            data={"exclude_history": False, "exclude_recent_seconds": 101},
            evaluation={"with_timestamp": with_timestamp},
        )
        result = lists(config, [9, 8, 7, 6], sequences, k=4)
        assert result[0] == [1, 2, 4, 0]  # 3 is 100 seconds old, or the last; 2 is long ago
        assert result[1] == ([1, 2, 3, 4] if with_timestamp else [1, 2, 3, 0])  # 4 is 110 seconds old, or the last
        assert result[2] == [1, 3, 4, 0]
        assert result[3] == [1, 2, 3, 4]
        assert lists(config, [9, 8], tables.sequence_table([[]]), k=2) == {0: [1, 2]}  # nobody did anything


def test_only_allowed_ones_of_the_given_candidates_are_ranked() -> None:
    sequences = tables.sequence_table([[1, 2, 3], [4, 4]], targets=1)
    candidates = np.array([[1, 4, 3], [2, 0, 0]], np.int32)
    result = lists(tables.make_config("order"), [9, 8, 7, 6], sequences, k=3, candidates=candidates)
    assert result == {0: [3, 4, 0], 1: [2, 0, 0]}
    assert lists(
        tables.make_config("order"), [9, 8, 7, 6], sequences, k=1, users=np.array([1]), candidates=candidates[:1]
    ) == {1: [1]}


def test_items_without_events_are_candidates_only_if_configured() -> None:
    sequences = tables.sequence_table([[1]], targets=0)
    counts = [9, 0, 7]
    assert lists(tables.make_config("order"), counts, sequences, k=3) == {0: [3, 0, 0]}
    config = tables.make_config("order", evaluation={"candidates": "all"})
    assert lists(config, counts, sequences, k=3) == {0: [3, 2, 0]}


def test_equal_scores_rank_in_catalogue_order() -> None:
    sequences = tables.sequence_table([[1]], targets=1)
    assert lists(tables.make_config("order"), [2, 5, 2, 5], sequences, k=4) == {0: [2, 4, 1, 3]}


def test_ranks_of_several_targets() -> None:
    sequences = tables.sequence_table([[1, 4, 2, 4], [3], []], targets=0)
    sequences.target_count[:] = [3, 1, 0]
    targets = targets_of(sequences)
    assert targets.item.tolist() == [2, 4, 3]  # an item that comes twice is one target
    assert targets.offsets.tolist() == [0, 2, 3, 3]
    items = tables.item_table(4, np.array([9, 1, 8, 7]))
    ranked = rank_with_scorer(RankingTask(tables.make_config("order"), items, sequences, k=2), popularity(items))
    assert target_ranks(ranked, targets).tolist() == [0, 2, 2]  # 3, 4 before 2; and 1, 3


def test_an_unknown_target_is_a_miss() -> None:
    sequences = tables.sequence_table([[1, 2, 0]], targets=1)
    items = tables.item_table(2)
    ranked = rank_with_scorer(RankingTask(tables.make_config("order"), items, sequences, k=2), popularity(items))
    assert target_ranks(ranked, targets_of(sequences)).tolist() == [0]
