from __future__ import annotations

import numpy as np
import pytest

from tests.trainer.evaluation.test_report import Tags, evaluation
from trainer.errors import TowersError
from trainer.evaluation.comparison import compare, table
from trainer.evaluation.per_user import PerUser
from trainer.evaluation.report.comparison_page import render_comparison

STAGES = ("retrieval", "recommend")


def figures(values: np.ndarray, first: int = 0, case: int = 1) -> PerUser:
    users = np.array([f"user-{i}" for i in range(first, first + len(values))], object)
    metrics = {"ndcg@10": values.astype(np.float32), "hit_rate@10": (values > 0).astype(np.float32)}
    return PerUser(users, np.full(len(values), case), dict.fromkeys(STAGES, metrics))


def gains(seed: int, users: int = 800) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.where(generator.random(users) < 0.3, generator.random(users), 0.0)


def test_users_are_paired_by_id_in_any_order() -> None:
    one, two = gains(1), gains(1)
    two[:40] = 1.0
    later = figures(two)
    turned = PerUser(
        later.user_id[::-1], later.case, {"recommend": {k: v[::-1] for k, v in later.figures["recommend"].items()}}
    )
    result = compare(figures(one), turned, STAGES, seed=1)
    assert [row["verdict"] for row in result["figures"]] == ["better", "better"]
    assert result["figures"][0]["difference"] == pytest.approx((two - one).mean(), abs=1e-6)
    back = compare(turned, figures(one), STAGES[::-1], seed=1)
    assert [row["verdict"] for row in back["figures"]] == ["worse", "worse"]


def test_only_users_with_equal_held_out_items_in_both_runs_are_compared() -> None:
    result = compare(figures(gains(1, 100)), figures(gains(2, 120), first=50), STAGES, seed=1)
    assert (result["users"], result["only_first"], result["only_second"]) == (50, 50, 70)
    with pytest.raises(TowersError, match="no held-out users in common"):
        compare(figures(gains(1)), figures(gains(1), case=2), STAGES, seed=1)
    other = figures(gains(1))
    other.figures["recommend"] = {"ndcg@5": np.zeros(800, np.float32)}
    with pytest.raises(TowersError, match="no metrics in common"):
        compare(figures(gains(1)), other, STAGES, seed=1)


def test_equally_good_runs_have_no_significant_difference() -> None:
    for other in (1, 2, 3, 4, 5):
        result = compare(figures(gains(1)), figures(gains(other)), STAGES, seed=1)
        assert {row["verdict"] for row in result["figures"]} == {"not told apart"}


def test_terminal_table_and_page() -> None:
    result = compare(figures(gains(1)), figures(gains(2)), STAGES, seed=1)
    assert max(map(len, table(result).splitlines())) <= 100
    both = evaluation({"popularity": "better"})
    page = render_comparison(("<before>", "after"), result, (both, both), ["A was not pushed: refused by <skew>."])
    assert "refused by &lt;skew&gt;" in page
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert not tags.open
    assert "&lt;before&gt;" in page
    assert "There is no significant difference in ndcg@10." in page
    assert "By history" in page
