from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trainer.evaluation.uncertainty import MIN_USERS, Figure, bootstrap_intervals, differences, holm, jackknife_interval

pytestmark = pytest.mark.slow


def gains(users: int, seed: int, hits: float = 0.3) -> np.ndarray:
    """Like NDCG with one target each: most are 0, a hit is worth more the higher it ranks."""
    generator = np.random.default_rng(seed)
    return np.where(generator.random(users) < hits, 1 / np.log2(1 + generator.integers(1, 11, users)), 0.0)


def mean(values: np.ndarray) -> Figure:
    return Figure(values, np.ones(len(values)))


@pytest.mark.parametrize("users", [100, 1_000])
def test_intervals_have_their_nominal_coverage(users: int) -> None:
    true = 0.3 * np.mean(1 / np.log2(1 + np.arange(1, 11)))
    held = 0
    for draw in range(200):
        interval = bootstrap_intervals([mean(gains(users, draw))], seed=1)[0]
        assert interval is not None
        held += interval[0] <= true <= interval[1]
    assert 0.92 <= held / 200 <= 0.98


def test_interval_of_a_ratio_and_of_a_part_of_the_users() -> None:
    generator = np.random.default_rng(3)
    per = generator.integers(0, 5, 4_000).astype(float)
    of = per * 2.0 + generator.normal(size=4_000) * per
    part = gains(4_000, 5), (np.arange(4_000) < 400).astype(float)
    figures = [Figure(of, per, bounded=False), Figure(part[0] * part[1], part[1]), mean(part[0])]
    ratio, some, alone = (interval or (0.0, 0.0) for interval in bootstrap_intervals(figures, seed=1))
    assert ratio[0] < 2.0 < ratio[1]
    assert ratio[1] - ratio[0] < 0.2
    same = bootstrap_intervals([mean(part[0][:400])], seed=1)[0] or (0.0, 0.0)
    np.testing.assert_allclose(np.diff(some), np.diff(same), rtol=0.2)
    np.testing.assert_allclose(np.diff(some), np.diff(alone) * np.sqrt(10), rtol=0.2)


def test_few_users_have_no_interval_and_equal_users_a_wide_one() -> None:
    assert bootstrap_intervals([mean(gains(MIN_USERS - 1, 1))], seed=1) == [None]
    assert bootstrap_intervals([mean(np.zeros(0))], seed=1) == [None]
    none, every = bootstrap_intervals([mean(np.zeros(100)), mean(np.ones(100))], seed=1)
    assert none == (0.0, pytest.approx(stats.beta.ppf(0.975, 1, 100)))
    assert every == (pytest.approx(stats.beta.ppf(0.025, 100, 1)), 1.0)
    assert bootstrap_intervals([], seed=1) == []


def test_a_seed_repeats() -> None:
    figures = [mean(gains(500, 2))]
    assert (
        bootstrap_intervals(figures, seed=4)
        == bootstrap_intervals(figures, seed=4)
        != bootstrap_intervals(figures, seed=5)
    )


def test_the_catalogues_coverage_lies_in_its_interval() -> None:
    lists = np.random.default_rng(2).zipf(1.5, [400, 10]) % 1_000

    def coverage(users: np.ndarray) -> float:
        return len(np.unique(lists[users])) / 1_000

    result = jackknife_interval(coverage, 400, seed=1)
    assert result is not None
    assert 0 < result[0] < coverage(np.ones(400, bool)) < result[1] < 1
    assert jackknife_interval(coverage, MIN_USERS - 1, seed=1) is None


def test_tests_have_their_nominal_error_rate_and_power() -> None:
    calls = 0
    for draw in range(100):
        first, second = gains(400, 2 * draw), gains(400, 2 * draw + 1)
        calls += differences([first], [second], seed=1)[0].p_value < 0.05
    assert calls <= 10
    base = gains(2_000, 1)
    better = np.where(np.random.default_rng(5).random(2_000) < 0.03, 1.0, base)
    result = differences([base, better], [better, base], seed=1)
    assert result[0].p_value < 0.01
    low, high = result[0].interval or (0.0, 0.0)
    assert 0 < low < result[0].value < high
    assert result[1].value == -result[0].value
    assert (result[1].interval or [0.0])[-1] == pytest.approx(-low, abs=1e-3)
    assert differences([base[:9]], [better[:9]], seed=1)[0].interval is None


def test_p_values_agree_with_the_paired_t_test() -> None:
    generator = np.random.default_rng(6)
    first = generator.normal(size=[3, 300])
    second = first + generator.normal(size=[3, 300]) + np.array([[0.0], [0.08], [0.15]])
    result = differences(list(first), list(second), seed=1)
    expected = stats.ttest_rel(first, second, axis=1).pvalue
    np.testing.assert_allclose([difference.p_value for difference in result], expected, atol=0.015)


def test_the_same_figures_do_not_differ() -> None:
    values = gains(100, 1)
    assert differences([values], [values], seed=1)[0].p_value == 1.0
    assert differences([np.zeros(0)], [np.zeros(0)], seed=1)[0].p_value == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.5, 0.9]) == [1.0, 1.0]
