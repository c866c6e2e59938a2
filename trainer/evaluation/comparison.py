"""Two runs over the same held-out users: which one serves them better, if either does."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from trainer.errors import TowersError
from trainer.evaluation.per_user import PerUser
from trainer.evaluation.uncertainty import differences, holm, verdict


def compare(first: PerUser, second: PerUser, stages: tuple[str, str], *, seed: int) -> dict[str, Any]:
    """Paired comparisons of one stage of each run.

    Args:
      first, second: figures per user of the runs.
      stages: which stage of each.
      seed: of resamples and random signs.

    Returns:
      `users`: how many both runs have, with the same held-out items; `only_first`, `only_second`: the others; `stages`;
      `figures`: of each headline metric that both have `metric`, `first`, `second`, `difference` (second less first),
      `interval`, `p_value` (adjusted by Holm's method) and `verdict` on the second.

    Raises:
      TowersError: no user or metric is in both.
    """
    _, of_first, of_second = np.intersect1d(_keys(first), _keys(second), return_indices=True)
    ours, theirs = first.figures[stages[0]], second.figures[stages[1]]
    shared = [metric for metric in ours if metric in theirs]
    if not len(of_first) or not shared:
        what = "held-out users" if not len(of_first) else "metrics"
        raise TowersError(f"the runs have no {what} in common: compare runs over the same data, split and cutoffs.")
    found = differences(
        [ours[metric][of_first] for metric in shared], [theirs[metric][of_second] for metric in shared], seed=seed
    )
    adjusted = holm([difference.p_value for difference in found])
    return {
        "users": len(of_first),
        "only_first": len(first.user_id) - len(of_first),
        "only_second": len(second.user_id) - len(of_second),
        "stages": stages,
        "figures": [
            {
                "metric": metric,
                "first": float(ours[metric][of_first].mean()),
                "second": float(theirs[metric][of_second].mean()),
                "difference": difference.value,
                "interval": difference.interval,
                "p_value": p_value,
                "verdict": verdict(difference.value, p_value),
            }
            for metric, difference, p_value in zip(shared, found, adjusted, strict=True)
        ],
    }


def _keys(figures: PerUser) -> np.ndarray:
    """int64 [U]. A user with other held-out items is not the same case; two of them are hardly ever equal by chance."""
    return np.array(
        [
            int.from_bytes(hashlib.blake2b(f"{case} {user}".encode(), digest_size=8).digest(), "little", signed=True)
            for user, case in zip(figures.user_id, figures.case, strict=True)
        ],
        np.int64,
    )


def table(found: dict[str, Any]) -> str:
    """The figures for a terminal, at most 100 columns wide."""
    lines = [f"{'':<14}{'A':>9}{'B':>9}{'B less A':>11}{'95 % interval':>22}{'p':>9}"]
    for row in found["figures"]:
        interval = "{:+.4f} to {:+.4f}".format(*row["interval"]) if row["interval"] else "too few users"
        lines.append(
            f"{row['metric']:<14}{row['first']:>9.4f}{row['second']:>9.4f}{row['difference']:>+11.4f}{interval:>22}"
            f"{row['p_value']:>9.4f}  {row['verdict']}"
        )
    return "\n".join(lines)
