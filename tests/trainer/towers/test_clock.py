from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.towers import clock


def test_periods_hold_equal_shares_of_the_events() -> None:
    times = np.sort(np.random.default_rng(0).integers(1, 10**9, clock.EVENTS_PER_PERIOD * 9 + 10) ** 2 // 10**9)
    ends = clock.period_ends(np.concatenate([times, [0, 0]]))
    counts, _ = np.histogram(times, ends)
    assert len(ends) == 10
    assert counts.min() > 0.95 * counts.max()
    assert len(clock.period_ends(np.arange(1, 10**6))) == clock.MAX_PERIODS + 1


def test_no_periods_from_few_events_or_a_single_moment() -> None:
    assert clock.period_ends(np.arange(1, clock.EVENTS_PER_PERIOD * clock.MIN_PERIODS)) == ()
    assert clock.period_ends(np.full(10**5, 7)) == ()
    assert clock.period_ends(np.zeros(10**5, np.int64)) == ()


@settings(deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=8))
def test_between_two_moments_rows_are_interpolated(times: list[int]) -> None:
    ends = (100, 200, 300)
    table = tf.constant([[0.0, 1.0], [10.0, 2.0], [30.0, 3.0]])
    got = clock.period_vectors(table, ends, tf.constant([times], tf.int64)).numpy()[0]
    for time, row in zip(times, got, strict=True):
        expected = [0.0, 0.0] if time == 0 else [np.interp(time, ends, table[:, i]) for i in range(2)]
        np.testing.assert_allclose(row, expected, atol=1e-4)
