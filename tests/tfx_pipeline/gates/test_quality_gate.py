"""The gate of quality: what it refuses, what it lets through, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.components.dataset_step import Step
from tfx_pipeline.gates.quality import component as quality_gate
from tfx_pipeline.gates.quality import judgement as quality
from tfx_pipeline.gates.quality.judgement import PairedRanks, SliceComparison
from trainer.config import Config, GatesConfig
from trainer.errors import UsageError
from trainer.evaluation.slices import Slice
from trainer.evaluation.targets import Targets

USERS = 400


def evaluation(verdict: str = "better", ndcg: float = 0.2) -> dict[str, Any]:
    return {
        "ranking_is_served": False,
        "slices_by": ["ndcg@10", "hit_rate@10", "recall@100"],
        "stages": {"retrieval": {"ndcg@10": ndcg, "hit_rate@10": 0.3}, "popularity": {"ndcg@10": 0.1}},
        "comparisons": [{"model": "retrieval", "with": "popularity", "metric": "ndcg@10", "verdict": verdict}],
    }


@pytest.mark.parametrize(("least", "passes"), [(0.2, True), (0.21, False)])
def test_a_limit_is_kept_or_not(least: float, passes: bool) -> None:
    floor, _ = quality.check_limits(GatesConfig(least={"ndcg@10": least}), evaluation())
    assert floor.passed == passes
    assert "ndcg@10 0.2000" in floor.reason
    assert f"at least {least}" in floor.reason


@pytest.mark.parametrize(("verdict", "passes"), [("better", True), ("not told apart", True), ("worse", False)])
def test_a_model_that_is_shown_to_be_worse_than_a_baseline_is_refused(verdict: str, passes: bool) -> None:
    (check,) = quality.check_limits(GatesConfig(), evaluation(verdict))
    assert check.passed == passes
    relation = "not significantly different from" if verdict == "not told apart" else f"{verdict} than"
    assert f"{relation} popularity (0.1000)" in check.reason


def test_the_figures_are_those_of_what_is_served() -> None:
    document = evaluation() | {"ranking_is_served": True}
    document["stages"]["recommend"] = {"ndcg@10": 0.05}
    document["comparisons"].append(
        {"model": "recommend", "with": "popularity", "metric": "ndcg@10", "verdict": "worse"},
    )
    checks = quality.check_limits(GatesConfig(least={"ndcg@10": 0.1}), document)
    assert [check.passed for check in checks] == [False, False]


@pytest.mark.parametrize("gates", [{"least": {"precision@3": 0.1}}, {"baselines": ["horoscope"]}])
def test_what_was_not_measured_is_named(gates: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"precision@3|horoscope") as error:
        quality.check_limits(GatesConfig(**gates), evaluation())
    assert "popularity" in str(error.value) or "ndcg@10" in str(error.value)


def one_target_each(count: int = USERS) -> Targets:
    return Targets(np.ones(count, np.int32), np.arange(count), np.arange(count + 1))


def ranks(seed: int, hits: float, count: int = USERS) -> np.ndarray:
    """A list that has the target among its first ten with this probability."""
    random = np.random.default_rng(seed)
    return np.where(random.random(count) < hits, random.integers(1, 11, count), 0)


def halves(count: int = USERS) -> list[Slice]:
    first = np.arange(count) < count // 4
    return [
        Slice("history", "short", first),
        Slice("history", "long", ~first),
        Slice("user", "few", np.arange(count) < 9),
    ]


def paired(candidate: np.ndarray, last: np.ndarray) -> PairedRanks:
    return PairedRanks(candidate, last, one_target_each(len(last)), k=10)


def judged(last: np.ndarray, candidate: np.ndarray, **gates: Any) -> tuple[list[SliceComparison], dict[str, bool]]:
    settings = GatesConfig(**gates)
    compared, _ = quality.compare(settings, paired(candidate, last), halves(len(last)), seed=1)
    return compared, {check.what: check.passed for check in quality.check_comparisons(settings, compared, 10)}


def test_the_same_model_passes_and_small_slices_are_not_looked_at() -> None:
    last = ranks(1, 0.4)
    compared, passed = judged(last, last)
    assert [part.name for part in compared] == ["all users", "history: short", "history: long"]
    assert [part.users for part in compared] == [400, 100, 300]
    assert all(passed.values())


def test_a_model_that_is_worse_for_everybody_is_refused_with_both_figures() -> None:
    last, candidate = ranks(1, 0.4), ranks(2, 0.1)
    compared, passed = judged(last, candidate)
    assert not passed["all users"]
    whole = compared[0]
    assert whole.last == pytest.approx(np.where(last > 0, 1 / np.log2(1 + np.maximum(last, 1)), 0).mean())
    reason = quality.check_comparisons(GatesConfig(), compared, 10)[0].reason
    assert f"{whole.candidate:.4f}" in reason
    assert f"{whole.last:.4f}" in reason
    assert "98%" in reason


def test_a_model_that_is_worse_for_one_slice_alone_is_refused_by_that_slice() -> None:
    last = ranks(1, 0.4)
    candidate = last.copy()
    candidate[: USERS // 4] = ranks(3, 0.05, USERS // 4)
    candidate[USERS // 4 :] = np.where(last[USERS // 4 :] > 0, 1, 0)  # better elsewhere, and on the whole
    compared, passed = judged(last, candidate)
    assert compared[0].candidate > compared[0].last
    assert passed == {"all users": True, "history: short": False, "history: long": True}
    assert judged(last, candidate, slices=["user"])[1] == {"all users": True}


def test_what_chance_would_make_of_equals_is_let_through() -> None:
    refused = sum(not all(judged(ranks(seed, 0.3), ranks(1000 + seed, 0.3))[1].values()) for seed in range(60))
    assert refused <= 8  # one in twenty is what the test allows itself; two-sided, so fewer


def test_a_loss_within_the_tolerance_is_let_through() -> None:
    last = np.ones(USERS, np.int64)
    candidate = np.where(np.arange(USERS) % 25 == 0, 0, 1)  # 4 % less, beyond any doubt
    assert not judged(last, candidate, tolerance=0.0, slice_tolerance=0.0)[1]["all users"]
    assert all(judged(last, candidate, tolerance=0.05, slice_tolerance=0.05)[1].values())


def test_equals_are_blessed_only_with_enough_users_where_no_loss_has_to_be_shown() -> None:
    strict = {"comparison": "bless_if_not_worse", "tolerance": 0.1, "slice_tolerance": 0.1}
    for count, blessed in ((200, False), (20_000, True)):
        assert all(judged(ranks(1, 0.4, count), ranks(5, 0.4, count), **strict)[1].values()) == blessed


def test_slices_that_are_named_do_not_make_a_loss_over_all_harder_to_see() -> None:
    last = ranks(1, 0.4)
    candidate = last.copy()
    candidate[np.flatnonzero(last)[:6]] = 0  # as six coins that all fall alike: p is about 2 / 2**6
    alone, among = (judged(last, candidate, tolerance=0.0, slices=slices)[0][0] for slices in ([], ["history"]))
    assert alone.p_value == among.p_value
    assert 1 / 3 * 0.05 < alone.p_value < 0.05


def test_what_has_too_few_users_is_named() -> None:
    settings = GatesConfig()
    few = ranks(1, 0.4, 20)
    compared, note = quality.compare(settings, paired(few, few), [], seed=1)
    assert [part.users for part in compared] == [20]
    assert note == "fewer than 30 users, too few to compare: all users (20)"
    whole = ranks(1, 0.4)
    _, note = quality.compare(settings, paired(whole, whole), halves(), seed=1)
    assert note == "fewer than 30 users, too few to compare: user: few (9)"
    assert not quality.compare(settings, paired(whole, whole), halves()[:2], seed=1)[1]


def test_where_metadata_cannot_be_asked_the_newest_pushed_version_stands_for_the_last_blessed(tmp_path: Path) -> None:
    config = Config.model_validate(
        {
            "name": "shop",
            "data": {
                "interactions": {"path": "e.csv", "user_id": "u", "item_id": "i", "time": "n", "time_format": "order"}
            },
        }
    )

    def last(serving: str, **inputs: str) -> str | None:
        return quality_gate.find_last_model(Step(config, inputs, {}, serving_directory=serving), str(tmp_path))

    base = tmp_path / "recommender"
    assert last("") is None
    assert last(str(base)) is None
    for name in ("9", "10", ".11.partial", "notes"):
        (base / name).mkdir(parents=True)
    assert last(str(base)) == str(base / "10")
    blessed = tmp_path / "artifacts" / "7"
    assert last(str(base), last_blessed=str(blessed)) == str(base / "10")  # its files are gone
    assert last("", last_blessed=str(blessed)) is None
    (blessed / "Format-Serving").mkdir(parents=True)
    assert last(str(base), last_blessed=str(blessed)) == str(blessed / "Format-Serving")
    gone = quality.missing_last_model("/artifacts/7", "/serving/recommender")
    assert not gone.passed
    assert "/artifacts/7" in gone.reason
