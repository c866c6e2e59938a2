"""Compares two runs over the same held-out users."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from trainer.errors import TowersError
from trainer.evaluation.document import in_words
from trainer.evaluation.per_user import PerUser
from trainer.evaluation.uncertainty import differences, holm, verdict


def compare(first: PerUser, second: PerUser, stages: tuple[str, str], *, seed: int) -> dict[str, Any]:
    """Paired comparisons of one stage of each run.

    Args:
      first, second: figures per user of the runs.
      stages: the stage of the first run and that of the second.
      seed: of resamples and random signs.

    Returns:
      `users`: number of users that both runs have, with the same held-out items; `only_first`, `only_second`: number of
      all other users of each run; `stages`; `figures`: a list with, for each headline metric of both runs, `metric`,
      `first`, `second`, `difference` (second minus first), `interval`, `p_value` (adjusted by Holm's method) and
      `verdict` on the second run.

    Raises:
      TowersError: the runs have no user or no metric in common.
    """
    _, rows_first, rows_second = np.intersect1d(_keys(first), _keys(second), return_indices=True)
    figures_first, figures_second = first.figures[stages[0]], second.figures[stages[1]]
    metrics = [metric for metric in figures_first if metric in figures_second]
    if not len(rows_first) or not metrics:
        what = "metrics" if len(rows_first) else "held-out users"
        raise TowersError(f"the runs have no {what} in common: compare runs over the same data, split and cutoffs.")
    values_first = [figures_first[metric][rows_first] for metric in metrics]
    values_second = [figures_second[metric][rows_second] for metric in metrics]
    results = differences(values_first, values_second, seed=seed)
    adjusted = holm([difference.p_value for difference in results])
    return {
        "users": len(rows_first),
        "only_first": len(first.user_id) - len(rows_first),
        "only_second": len(second.user_id) - len(rows_second),
        "stages": stages,
        "figures": [
            {
                "metric": metrics[i],
                "first": float(values_first[i].mean()),
                "second": float(values_second[i].mean()),
                "difference": results[i].value,
                "interval": results[i].interval,
                "p_value": adjusted[i],
                "verdict": verdict(results[i].value, adjusted[i]),
            }
            for i in range(len(metrics))
        ],
    }


def _keys(figures: PerUser) -> np.ndarray:
    """A hash of each user's id and held-out items: int64 [U]. It differs if only the held-out items differ."""
    return np.array(
        [
            int.from_bytes(hashlib.blake2b(f"{case} {user}".encode(), digest_size=8).digest(), "little", signed=True)
            for user, case in zip(figures.user_id, figures.case, strict=True)
        ],
        np.int64,
    )


def table(comparison: dict[str, Any]) -> str:
    """The figures for a terminal, at most 100 columns wide."""
    lines = [f"{'':<14}{'A':>8}{'B':>9}{'B minus A':>11}{'95 % interval':>21}{'p':>8}"]
    for row in comparison["figures"]:
        interval = "{:+.4f} to {:+.4f}".format(*row["interval"]) if row["interval"] else "too few users"
        lines.append(
            f"{row['metric']:<14}{row['first']:>8.4f}{row['second']:>9.4f}{row['difference']:>+11.4f}{interval:>21}"
            f"{row['p_value']:>8.4f}  {in_words(row['verdict'])}"
        )
    return "\n".join(lines)
