"""The gates of the index, of skew and of drift, and what any gate writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv

from serving.export.exported_model import Answer
from tfx_pipeline.gates import verdict
from tfx_pipeline.gates.drift import judgement as drift
from tfx_pipeline.gates.index import judgement as index
from tfx_pipeline.gates.skew import judgement as skew
from tfx_pipeline.gates.verdict import Check, Verdict
from trainer.data.features import Feature

FEATURES = [
    Feature("event", "bytes"),
    Feature("rating", "float"),
    Feature("item_id", "bytes"),
    Feature("text", "bytes"),
]


def index_report(recall: float, p99: float) -> dict[str, Any]:
    chosen = {"kind": "scann", "parameters": {"leaves": 3}}
    other = {"kind": "brute_force", "parameters": {}, "recall": 1.0, "p50_ms": 9.0, "p99_ms": 99.0}
    measured = [other, {**chosen, "recall": recall, "p50_ms": 0.1, "p99_ms": p99}]
    return {**chosen, "k": 100, "recall_target": 0.98, "measured": measured}


@pytest.mark.parametrize(
    ("recall", "p99", "limit", "refused"),
    [
        (0.99, 5.0, None, []),
        (0.97, 5.0, None, ["recall@100 0.970, wanted at least 0.98"]),
        (0.99, 5.0, 4.0, ["p99 5.00 ms, wanted at most 4 ms"]),
        (0.5, 5.0, 4.0, ["recall@100 0.500, wanted at least 0.98", "p99 5.00 ms, wanted at most 4 ms"]),
    ],
)
def test_index(recall: float, p99: float, limit: float | None, refused: list[str]) -> None:
    result = index.judge(index_report(recall, p99), limit)
    assert result.passed == (not refused)
    assert result.refusals == refused


def test_an_index_that_was_not_measured_is_said_not_to_be() -> None:
    result = index.judge(index_report(0.99, 1.0) | {"measured": []}, 1.0)
    assert result.passed
    assert "no held-out queries" in result.line()


SCORES = {"a": 3.0, "b": 2.0, "c": 1.999, "d": 1.0}
BEST = {"a": 3.0, "b": 2.0, "c": 1.999}


def judged(ids: str, scores: list[float], own: dict[str, float], best: dict[str, float], count: int = 3) -> Verdict:
    answer = Answer(list(ids), np.array(scores, np.float32))
    return skew.judge([answer], [skew.ExpectedAnswer(own, best, count)], tolerance=0.01)


@pytest.mark.parametrize(
    ("ids", "scores", "passes"),
    [
        ("abc", [3.0, 2.0, 1.999], True),
        ("acb", [3.0, 2.0, 1.999], True),  # within the tolerance either may come first
        ("abc", [3.0, 2.0, 1.9], False),
        ("bac", [2.0, 3.0, 1.999], False),
        ("abd", [3.0, 2.0, 1.0], False),
        ("abx", [3.0, 2.0, 1.999], False),
        ("aab", [3.0, 3.0, 2.0], False),
        ("ab", [3.0, 2.0], False),
        ("abc", [3.0, 2.0, np.nan], False),
        ("abc", [np.nan, np.nan, np.nan], False),
        ("abc", [np.inf, 2.0, 1.999], False),
        ("", [], False),
    ],
)
def test_served_lists_have_to_be_the_batch_paths(ids: str, scores: list[float], passes: bool) -> None:
    result = judged(ids, scores, SCORES, BEST)
    assert result.passed == passes
    assert "1 requests" in result.line()


@pytest.mark.parametrize(
    ("own", "passes"),
    [
        ({"a": 3.0, "d": 1.0, "e": 0.5}, True),  # b and c were not found: the index gate's to judge
        ({"a": 3.0, "d": 1.0, "e": 0.6}, False),
        ({"a": 3.0, "d": 1.0}, False),  # e may not be recommended
        ({"a": 3.0, "d": 1.0, "e": np.nan}, False),
    ],
)
def test_what_an_approximate_index_found_has_to_have_its_score(own: dict[str, float], passes: bool) -> None:
    assert judged("ade", [3.0, 1.0, 0.5], own, best={}).passed == passes


def test_a_logit_is_the_unit_where_scores_are_cosines() -> None:
    answers = [Answer(["a"], np.array([0.905], np.float32))]
    batch = [skew.ExpectedAnswer({"a": 0.9}, {"a": 0.9}, 1)]
    assert skew.judge(answers, batch, tolerance=0.02).passed
    assert skew.judge(answers, batch, tolerance=0.02, unit=0.05).passed  # of a cosine of 0.9, 18 units, 0.6 %
    low = [skew.ExpectedAnswer({"a": 0.0}, {"a": 0.0}, 1)], [Answer(["a"], np.array([0.005], np.float32))]
    assert skew.judge(low[1], low[0], tolerance=0.02).passed
    assert not skew.judge(low[1], low[0], tolerance=0.02, unit=0.05).passed


def test_lists_may_be_short_where_few_items_are_allowed() -> None:
    assert judged("a", [3.0], {"a": 3.0}, {"a": 3.0}, count=1).passed
    assert "no held-out users" in skew.judge([], [], tolerance=0.01).line()


def statistics(share: float, mean: float, seed: int, missing: float = 0.0) -> drift.Statistics:
    random, count = np.random.default_rng(seed), 20_000
    ratings = np.where(random.random(count) < missing, np.nan, random.normal(mean, 1, count))
    columns = {
        "event": random.choice(["view", "buy"], count, p=[share, 1 - share]),
        "rating": [[rating] for rating in ratings],  # in a list NaN is a value, as in our examples
        "item_id": random.integers(0, 5_000, count).astype(str),
        "text": random.integers(0, 10**9, count).astype(str),
    }
    frame = pd.DataFrame(columns)
    return tfdv.generate_statistics_from_dataframe(frame)


@pytest.mark.parametrize(
    ("share", "mean", "drifted"),
    [(0.5, 0.0, []), (0.02, 0.0, ["sequences.event"]), (0.5, 3.0, ["sequences.rating"])],
)
def test_drift(share: float, mean: float, drifted: list[str]) -> None:
    before, now = statistics(0.5, 0.0, seed=1), statistics(share, mean, seed=2)
    result = drift.judge({"sequences": (now, before, FEATURES)}, limit=0.2)
    assert [check.what for check in result.checks if not check.passed] == drifted
    assert result.passed == (not drifted)
    assert set(result.measured["divergence"]) == {"sequences.event", "sequences.rating"}  # ids and texts are always new


@pytest.mark.parametrize(
    ("before", "now", "drifted"), [(0.6, 0.6, []), (0.6, 0.62, []), (0.1, 0.9, ["sequences.rating (not given)"])]
)
def test_ratings_that_are_not_given_are_no_drift_unless_they_become_more(
    before: float, now: float, drifted: list[str]
) -> None:
    earlier, later = statistics(0.5, 0.0, seed=1, missing=before), statistics(0.5, 0.0, seed=2, missing=now)
    result = drift.judge({"sequences": (later, earlier, FEATURES)}, limit=0.2)
    assert [check.what for check in result.checks if not check.passed] == drifted
    assert drift.judge({"sequences": (later, later, FEATURES)}, limit=1e-9).passed


def profiles(given: float, named: float, genres: float) -> drift.Statistics:
    """People of whom age is known, name is in the data at all, and genres are any, with these probabilities."""
    random, count = np.random.default_rng(1), 4_000
    ages, known = random.normal(40, 5, count), random.random(count) < given
    frame = pd.DataFrame(
        {
            "profile_age": [[age] if some else [] for age, some in zip(ages, known, strict=True)],
            "multi_valued_genres": [list("ab") if some else [] for some in random.random(count) < genres],
            "title": ["t"] * count,
        }
    )
    if named:
        frame["profile_name"] = random.choice(["x", "y"], count)
    return tfdv.generate_statistics_from_dataframe(frame)


@pytest.mark.parametrize(
    ("now", "drifted"),
    [
        ((1.0, 1, 1.0), []),
        ((0.95, 1, 0.95), []),
        ((0.05, 1, 1.0), ["profile_age"]),
        ((1.0, 0, 1.0), ["profile_name"]),
        ((1.0, 1, 0.05), ["multi_valued_genres"]),
    ],
)
def test_values_that_go_missing_are_drift(now: tuple[float, float, float], drifted: list[str]) -> None:
    features = [
        Feature("profile_age", "float"),
        Feature("profile_name", "bytes", scalar=True),
        Feature("multi_valued_genres", "bytes"),
    ]
    result = drift.judge({"people": (profiles(*now), profiles(1.0, 1, 1.0), features)}, limit=0.3)
    assert [check.what for check in result.checks if not check.passed] == [
        f"people.{name} (not given)" for name in drifted
    ]


def test_a_verdict_is_read_as_it_was_written(tmp_path: Path) -> None:
    checks = (Check("one", True, "fine"), Check("二", False, "bad, wanted good"))
    result = Verdict("index", checks, note="half of it", measured={"x": [1.5]})
    verdict.write(tmp_path, result)
    assert verdict.read(tmp_path) == result
    assert not result.passed
    assert result.line() == "refused: bad, wanted good"
    assert Verdict("index", checks[1:] * 5).why == "bad, wanted good; bad, wanted good; and 3 more checks failed"
    assert Verdict("index").line() == "nothing to check"
    assert Verdict("index", checks[:1] * 4).line() == "fine; fine; and 2 more checks passed"
