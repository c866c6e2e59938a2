"""How sure a figure is: bootstrap intervals over users, and paired tests between two recommenders.

A user is what is drawn: events of one user depend on each other, users hardly do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from trainer.evaluation.document import BETTER, UNDECIDED, WORSE

SIGNIFICANCE = 0.05  # p-values below say that something is no chance
CONFIDENCE = 1 - SIGNIFICANCE
RESAMPLES = 2_000
FLIPS = 10_000
GROUPS = 20  # of users, one of which is left out at a time
FEWEST = 30  # users; of fewer, an interval would say more than is known

_AT_ONCE = 20_000_000  # weights alive at once, 80 MB


@dataclass(frozen=True)
class Figure:
    """A figure that is a mean over users, or a ratio of two.

    Attributes:
      value: sum of `of` over `per`.
      of: float [users], a user's share of the numerator.
      per: float [users], of the denominator; 1 for users that a mean is over, 0 for others.
      bounded: whether every user's ratio lies in 0..1.
    """

    of: np.ndarray
    per: np.ndarray
    bounded: bool = True

    @property
    def value(self) -> float:
        whole = self.per.sum()
        return float(self.of.sum() / whole) if whole else 0.0


@dataclass(frozen=True)
class Difference:
    """Of two recommenders' mean figures over the same users, the second's less the first's.

    Attributes:
      value: the difference.
      interval: [low, high] by the bootstrap; None over fewer than FEWEST users.
      p_value: how probable a difference so large is, were it chance whose figure is whose.
    """

    value: float
    interval: list[float] | None
    p_value: float


def intervals(figures: Sequence[Figure], *, seed: int) -> list[tuple[float, float] | None]:
    """Bootstrap percentile intervals (Efron, 1979), all from the same resamples of the users.

    The percentiles lie a little further out than CONFIDENCE says, which makes up for few users (Hesterberg, 2015,
    "expanded percentile"). Where all users are alike, at 0 or at 1, resamples know nothing of others; then the interval
    is that of a share of which no instance, or no counter-instance, was seen (Clopper & Pearson, 1934).

    Args:
      figures: over the same users.
      seed: of the resamples.

    Returns:
      (low, high) for each; None of a figure that is over fewer than FEWEST users.
    """
    if not figures:
        return []
    denominators, which = _distinct([figure.per for figure in figures])
    columns = np.stack([*(figure.of for figure in figures), *denominators], axis=1).astype(np.float32)
    totals = np.concatenate([weights @ columns for weights in _resamples(len(columns), seed)])
    result: list[tuple[float, float] | None] = []
    for i, figure in enumerate(figures):
        users = int(np.count_nonzero(figure.per))
        whole = totals[:, len(figures) + which[i]]
        if users < FEWEST or not (whole > 0).any():
            result.append(None)
            continue
        drawn = totals[whole > 0, i].astype(np.float64) / whole[whole > 0]
        low, high = np.quantile(drawn, _percentiles(users))
        never = (1 - CONFIDENCE) / 2
        if figure.bounded and not figure.of.any():
            high = 1 - never ** (1 / users)
        elif figure.bounded and (figure.of == figure.per).all():
            low = never ** (1 / users)
        result.append((float(low), float(high)))
    return result


def interval_of(
    statistic: Callable[[np.ndarray], float | None], users: int, *, seed: int, least: float = 0.0, most: float = 1.0
) -> tuple[float, float] | None:
    """An interval for what is no mean over users, such as the catalogue's coverage, which resamples would lower.

    The delete-a-group jackknife (Kott, 2001): the statistic's spread over GROUPS samples that lack one group each.

    Args:
      statistic: of a bool [users], the users that count; None where it is undefined.
      users: how many there are.
      seed: of the groups.
      least, most: between which the statistic lies.

    Returns:
      (low, high); None of fewer than FEWEST users, or if it is undefined without some of them.
    """
    if users < FEWEST:
        return None
    group = np.random.default_rng(seed).permutation(users) % GROUPS
    whole = statistic(np.ones(users, bool))
    parts = [statistic(group != i) for i in range(GROUPS)]
    if whole is None or any(part is None for part in parts):
        return None
    without = np.array(parts, float)
    error = math.sqrt((GROUPS - 1) / GROUPS * ((without - without.mean()) ** 2).sum())
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, GROUPS - 1) * error
    return max(least, whole - reach), min(most, whole + reach)


def differences(first: Sequence[np.ndarray], second: Sequence[np.ndarray], *, seed: int) -> list[Difference]:
    """Paired comparisons: bootstrap interval and Fisher's randomisation test (Smucker et al., 2007), two-sided.

    Args:
      first, second: float [users] figures of the same users; of one comparison each.
      seed: of resamples and random signs.
    """
    if not first:
        return []
    apart = np.stack([b - a for a, b in zip(first, second, strict=True)], axis=1).astype(np.float64)
    users = len(apart)
    if not users:
        return [Difference(0.0, None, 1.0) for _ in first]
    value = apart.mean(axis=0)
    columns = apart.astype(np.float32)
    drawn = np.concatenate([weights @ columns for weights in _resamples(users, seed)]) / users
    low, high = np.quantile(drawn, _percentiles(users), axis=0)
    as_far = np.ones(len(first))  # what was seen is one of the ways in which the signs could have come
    # Equal differences come out of a sum a hair apart: they should count as equal.
    reach = np.abs(value) - 1e-6 * np.abs(columns).mean(axis=0)
    whole = columns.sum(axis=0, dtype=np.float64)
    for kept in _halves(users, seed):
        # What is kept counts with its sign, what is not with the other: kept - (whole - kept).
        as_far += (np.abs(2 * (kept @ columns).astype(np.float64) - whole) / users >= reach).sum(axis=0)
    p_value = as_far / (FLIPS + 1)
    return [
        Difference(float(value[i]), [float(low[i]), float(high[i])] if users >= FEWEST else None, float(p_value[i]))
        for i in range(len(first))
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of one family of tests, adjusted so that the chance of any false one stays bounded (Holm, 1979)."""
    order = np.argsort(p_values, kind="stable")
    factors = len(order) - np.arange(len(order))
    adjusted = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values, float)[order] * factors))
    result = np.empty(len(order))
    result[order] = adjusted
    return [float(value) for value in result]


def verdict(difference: float, p_value: float) -> str:
    """What may be said of a difference: nothing, if chance would make one so large too often."""
    if p_value >= SIGNIFICANCE:
        return UNDECIDED
    return BETTER if difference > 0 else WORSE


def _percentiles(users: int) -> np.ndarray:
    expanded = math.sqrt(users / (users - 1)) * stats.t.ppf((1 - CONFIDENCE) / 2, users - 1) if users > 1 else -4.0
    tail = stats.norm.cdf(expanded)
    return np.array([tail, 1 - tail])


def _resamples(users: int, seed: int) -> Iterator[np.ndarray]:
    """How often each user is drawn in resamples of all users, blocks of float32 [resamples, users]."""
    generator = np.random.default_rng([seed, 0])
    block = max(1, _AT_ONCE // max(users, 1))
    for first in range(0, RESAMPLES, block):
        rows = min(block, RESAMPLES - first)
        drawn = generator.integers(users, size=(rows, users)) + (np.arange(rows) * users)[:, np.newaxis]
        yield np.bincount(drawn.ravel(), minlength=rows * users).reshape(rows, users).astype(np.float32)


def _halves(users: int, seed: int) -> Iterator[np.ndarray]:
    """Random parts of the users, each with probability 1/2: blocks of float32 [flips, users], 0 or 1."""
    generator = np.random.default_rng([seed, 1])
    block = max(1, _AT_ONCE // max(users, 1))
    for first in range(0, FLIPS, block):
        rows = min(block, FLIPS - first)
        bits = np.unpackbits(np.frombuffer(generator.bytes(-(-rows * users // 8)), np.uint8), count=rows * users)
        yield bits.reshape(rows, users).astype(np.float32)


def _distinct(columns: list[np.ndarray]) -> tuple[list[np.ndarray], list[int]]:
    """Distinct columns, and which of them each is."""
    found: dict[bytes, int] = {}
    kept: list[np.ndarray] = []
    which: list[int] = []
    for column in columns:
        key = np.ascontiguousarray(column, np.float64).tobytes()
        if key not in found:
            found[key] = len(kept)
            kept.append(column)
        which.append(found[key])
    return kept, which
