"""Uncertainty of figures: intervals over users, and paired tests between two recommenders.

Users are resampled, not events: the events of one user depend on each other, while users hardly do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from trainer.evaluation.document import BETTER, UNDECIDED, WORSE

SIGNIFICANCE = 0.05  # differences with smaller p-values are significant
CONFIDENCE = 1 - SIGNIFICANCE
RESAMPLES = 2_000  # of the users, for bootstrap intervals
FLIPS = 10_000  # random assignments of signs, for the randomisation test
GROUPS = 20  # of users, for the jackknife
MIN_USERS = 30  # an interval over fewer users would not be reliable

_WEIGHTS_AT_ONCE = 20_000_000  # 80 MB


@dataclass(frozen=True)
class Figure:
    """A figure that is a mean over users, or a ratio of two.

    Attributes:
      numerator: float [users], each user's part of the sum.
      denominator: float [users], each user's part of the sum that `numerator`'s sum is divided by. For a mean: 1, or 0
        for users that do not count.
      bounded: whether every user's ratio lies in 0..1.
    """

    numerator: np.ndarray
    denominator: np.ndarray
    bounded: bool = True

    @property
    def value(self) -> float:
        """Sum of `numerator` over sum of `denominator`; 0 if the latter is 0."""
        total = self.denominator.sum()
        return float(self.numerator.sum() / total) if total else 0.0


@dataclass(frozen=True)
class Difference:
    """The difference of two recommenders' mean figures over the same users, the second minus the first.

    Attributes:
      value: the difference.
      interval: [low, high] by the bootstrap; None over fewer than MIN_USERS users.
      p_value: probability of a difference of at least this size if the recommenders were equally good.
    """

    value: float
    interval: list[float] | None
    p_value: float


def bootstrap_intervals(figures: Sequence[Figure], *, seed: int) -> list[tuple[float, float] | None]:
    """Bootstrap percentile intervals (Efron, 1979), all from the same resamples of the users.

    The percentiles lie further out than those of CONFIDENCE, to correct for few users (Hesterberg, 2015, "expanded
    percentile"). If a bounded figure is 0 for every user, or 1 for every user, all resamples are equal. The interval is
    then that of a share with no positive, or no negative, observation (Clopper & Pearson, 1934).

    Args:
      figures: over the same users.
      seed: of the resamples.

    Returns:
      (low, high) for each; None for a figure over fewer than MIN_USERS users.
    """
    if not figures:
        return []
    denominators, index = _distinct([figure.denominator for figure in figures])
    columns = np.stack([*(figure.numerator for figure in figures), *denominators], axis=1).astype(np.float32)
    totals = np.concatenate([weights @ columns for weights in _resamples(len(columns), seed)])
    result: list[tuple[float, float] | None] = []
    for i, figure in enumerate(figures):
        users = int(np.count_nonzero(figure.denominator))
        total = totals[:, len(figures) + index[i]]
        if users < MIN_USERS or not (total > 0).any():
            result.append(None)
            continue
        values = totals[total > 0, i].astype(np.float64) / total[total > 0]
        low, high = np.quantile(values, _percentiles(users))
        tail = (1 - CONFIDENCE) / 2
        if figure.bounded and not figure.numerator.any():
            high = 1 - tail ** (1 / users)
        elif figure.bounded and (figure.numerator == figure.denominator).all():
            low = tail ** (1 / users)
        result.append((float(low), float(high)))
    return result


def jackknife_interval(
    statistic: Callable[[np.ndarray], float | None], users: int, *, seed: int, low: float = 0.0, high: float = 1.0
) -> tuple[float, float] | None:
    """An interval for a statistic that is not a mean over users, such as coverage, which is biased in resamples.

    The delete-a-group jackknife (Kott, 2001) divides the users into GROUPS groups. The interval comes from the spread
    of the statistic when one group at a time is left out.

    Args:
      statistic: bool [users], the users that count -> value; None where it is undefined.
      users: number of users.
      seed: of the groups.
      low, high: bounds of the statistic.

    Returns:
      (low, high); None for fewer than MIN_USERS users, or if the statistic is undefined without one of the groups.
    """
    if users < MIN_USERS:
        return None
    group = np.random.default_rng(seed).permutation(users) % GROUPS
    value = statistic(np.ones(users, bool))
    parts = [statistic(group != i) for i in range(GROUPS)]
    if value is None or any(part is None for part in parts):
        return None
    without_group = np.array(parts, float)
    error = math.sqrt((GROUPS - 1) / GROUPS * ((without_group - without_group.mean()) ** 2).sum())
    distance = stats.t.ppf((1 + CONFIDENCE) / 2, GROUPS - 1) * error
    return max(low, value - distance), min(high, value + distance)


def differences(first: Sequence[np.ndarray], second: Sequence[np.ndarray], *, seed: int) -> list[Difference]:
    """Paired comparisons: bootstrap interval and Fisher's randomisation test (Smucker et al., 2007), two-sided.

    Args:
      first, second: one array for each comparison, float [users] figures of the same users.
      seed: of resamples and random signs.
    """
    if not first:
        return []
    per_user = np.stack([b - a for a, b in zip(first, second, strict=True)], axis=1).astype(np.float64)
    users = len(per_user)
    if not users:
        return [Difference(0.0, None, 1.0) for _ in first]
    value = per_user.mean(axis=0)
    columns = per_user.astype(np.float32)
    resampled = np.concatenate([weights @ columns for weights in _resamples(users, seed)]) / users
    low, high = np.quantile(resampled, _percentiles(users), axis=0)
    at_least_as_large = np.ones(len(first))  # the observed signs are one of the possible assignments
    # Rounding makes sums of equal differences slightly different. They should count as equal.
    threshold = np.abs(value) - 1e-6 * np.abs(columns).mean(axis=0)
    total = columns.sum(axis=0, dtype=np.float64)
    for positive in _halves(users, seed):
        # Differences of the chosen subset keep their sign, all others change it: subset - (total - subset).
        flipped = 2 * (positive @ columns).astype(np.float64) - total
        at_least_as_large += (np.abs(flipped) / users >= threshold).sum(axis=0)
    p_value = at_least_as_large / (FLIPS + 1)
    return [
        Difference(float(value[i]), [float(low[i]), float(high[i])] if users >= MIN_USERS else None, float(p_value[i]))
        for i in range(len(first))
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of one family of tests, adjusted to bound the probability of any false positive (Holm, 1979)."""
    order = np.argsort(p_values, kind="stable")
    factors = len(order) - np.arange(len(order))
    adjusted = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values, float)[order] * factors))
    result = np.empty(len(order))
    result[order] = adjusted
    return [float(value) for value in result]


def verdict(difference: float, p_value: float) -> str:
    """BETTER or WORSE if the difference is significant, otherwise UNDECIDED."""
    if p_value >= SIGNIFICANCE:
        return UNDECIDED
    return BETTER if difference > 0 else WORSE


def _percentiles(users: int) -> np.ndarray:
    """The expanded percentiles that bound a bootstrap interval over `users` users: float64 [2] in 0..1."""
    expanded = math.sqrt(users / (users - 1)) * stats.t.ppf((1 - CONFIDENCE) / 2, users - 1) if users > 1 else -4.0
    tail = stats.norm.cdf(expanded)
    return np.array([tail, 1 - tail])


def _resamples(users: int, seed: int) -> Iterator[np.ndarray]:
    """How often each user is in each resample of all users: blocks of float32 [resamples, users]."""
    generator = np.random.default_rng([seed, 0])
    block = max(1, _WEIGHTS_AT_ONCE // max(users, 1))
    for first in range(0, RESAMPLES, block):
        rows = min(block, RESAMPLES - first)
        index = generator.integers(users, size=(rows, users)) + (np.arange(rows) * users)[:, np.newaxis]
        yield np.bincount(index.ravel(), minlength=rows * users).reshape(rows, users).astype(np.float32)


def _halves(users: int, seed: int) -> Iterator[np.ndarray]:
    """Random subsets of the users, each user with probability 1/2: blocks of float32 [flips, users], 0 or 1."""
    generator = np.random.default_rng([seed, 1])
    block = max(1, _WEIGHTS_AT_ONCE // max(users, 1))
    for first in range(0, FLIPS, block):
        rows = min(block, FLIPS - first)
        bits = np.unpackbits(np.frombuffer(generator.bytes(-(-rows * users // 8)), np.uint8), count=rows * users)
        yield bits.reshape(rows, users).astype(np.float32)


def _distinct(columns: list[np.ndarray]) -> tuple[list[np.ndarray], list[int]]:
    """The distinct columns, and for each column its index among them."""
    index_of: dict[bytes, int] = {}
    distinct: list[np.ndarray] = []
    index: list[int] = []
    for column in columns:
        key = np.ascontiguousarray(column, np.float64).tobytes()
        if key not in index_of:
            index_of[key] = len(distinct)
            distinct.append(column)
        index.append(index_of[key])
    return distinct, index
