"""Whether what would be served is good enough: against limits, against baselines, and against what was blessed last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfx_pipeline.gates.verdict import Check, against_limit
from trainer.config import GatesConfig
from trainer.errors import UsageError
from trainer.evaluation import metrics
from trainer.evaluation.document import BETTER, WORSE, main_metric, served
from trainer.evaluation.slices import Slice
from trainer.evaluation.targets import Targets
from trainer.evaluation.uncertainty import FEWEST, differences, holm, verdict

GATE = "quality"


def limits(gates: GatesConfig, evaluation: dict[str, Any]) -> list[Check]:
    """What is served against `gates.least`, and whether it is shown to be worse than one of `gates.baselines`.

    Raises:
      UsageError: the evaluation has no such metric or baseline.
    """
    stage = served(evaluation)
    figures = evaluation["stages"][stage]
    checks = []
    for metric, least in gates.least.items():
        if metric not in figures:
            raise UsageError(f"`gates.least` should name metrics ({', '.join(figures)}). Received: {metric!r}")
        value = figures[metric]
        checks.append(against_limit(metric, value >= least, f"{metric} {value:.4f}", f"at least {least:g}"))
    metric = main_metric(evaluation)
    for baseline in gates.baselines:
        found = [
            row
            for row in evaluation["comparisons"]
            if (row["model"], row["with"], row["metric"]) == (stage, baseline, metric)
        ]
        if not found:
            known = ", ".join(sorted({row["with"] for row in evaluation["comparisons"]} - {"retrieval"}))
            raise UsageError(f"`gates.baselines` should name baselines of this run ({known}). Received: {baseline!r}")
        (row,) = found
        theirs = evaluation["stages"][baseline][metric]
        figure = f"{metric} {figures[metric]:.4f}"
        passed = row["verdict"] != WORSE
        said = f"{row['verdict']} than" if row["verdict"] in (BETTER, WORSE) else "not told apart from"
        checks.append(Check(f"{baseline} by {metric}", passed, f"{figure}, {said} {baseline} ({theirs:.4f})"))
    return checks


@dataclass(frozen=True)
class Compared:
    """One part of the held-out users, as both models serve it.

    Attributes:
      name: of the part.
      users: how many there are.
      candidate, last: mean figures.
      tolerance: share of `last` that may be lost.
      verdict: on the candidate against what the tolerance leaves of the last blessed model's figure.
      p_value: of that; of slices, adjusted for how many are looked at (Holm).
    """

    name: str
    users: int
    candidate: float
    last: float
    tolerance: float
    verdict: str
    p_value: float


def compare(
    gates: GatesConfig,
    candidate: np.ndarray,
    last: np.ndarray,
    targets: Targets,
    parts: Sequence[Slice],
    k: int,
    seed: int,
) -> tuple[list[Compared], str]:
    """NDCG@k of both models over all users and over the slices of `gates.slices` that have enough users.

    The candidate is tested against the last blessed model's figures less the tolerance, user by user (Fisher's paired
    randomisation test). The slices are one family of tests; all users are a question of their own, which does not
    become harder to answer with the number of slices.

    Args:
      gates: the limits.
      candidate, last: int64 [targets], ranks from 1, 0 where a target is on no list.
      targets: of the users.
      parts: all slices.
      k: of the metric.
      seed: of the random signs.

    Returns:
      all users and the slices, and which could not be looked at, "" for none.
    """
    everybody = Slice("", "all users", np.ones(len(targets.item), bool))
    chosen = [(everybody, gates.tolerance)]
    chosen += [(part, gates.slice_tolerance) for part in parts if part.by in gates.slices]
    kept: list[tuple[Slice, float, np.ndarray, np.ndarray]] = []
    too_few: list[str] = []
    for part, tolerance in chosen:
        within = targets.subset(part.targets)
        users = np.flatnonzero(np.diff(within.offsets))
        if len(users) < FEWEST:
            too_few.append(f"{_title(part)} ({len(users)})")
            if part is not everybody:
                continue

        def of_users(
            ranks: np.ndarray, part: Slice = part, within: Targets = within, users: np.ndarray = users
        ) -> np.ndarray:
            return metrics.per_user(ranks[part.targets], within.offsets, [k])[f"ndcg@{k}"][users]

        kept.append((part, tolerance, of_users(candidate), of_users(last)))
    # Parts have users of their own: each is tested by itself.
    found = [differences([theirs * (1 - tolerance)], [ours], seed=seed)[0] for _, tolerance, ours, theirs in kept]
    whole, *of_slices = [difference.p_value for difference in found]
    adjusted = [whole, *holm(of_slices)]
    compared = [
        Compared(
            name=_title(part),
            users=len(ours),
            candidate=float(ours.mean()) if len(ours) else 0.0,
            last=float(theirs.mean()) if len(theirs) else 0.0,
            tolerance=tolerance,
            verdict=verdict(difference.value, p_value),
            p_value=p_value,
        )
        for (part, tolerance, ours, theirs), difference, p_value in zip(kept, found, adjusted, strict=True)
    ]
    return compared, f"fewer than {FEWEST} users, too few to tell: {', '.join(too_few)}" if too_few else ""


def _title(part: Slice) -> str:
    return f"{part.by}: {part.name}" if part.by else part.name


def cannot_compare(gone: str, serving_directory: str) -> Check:
    """The check that fails where there was a blessed model, which no longer is where it was."""
    return Check(
        "last blessed model",
        False,
        f"the last blessed model is gone ({gone}), and no version lies in {serving_directory}: "
        "put it back, or give --out another directory",
    )


def not_worse(gates: GatesConfig, compared: Sequence[Compared], k: int) -> list[Check]:
    """One check for all users, and one for each slice."""
    passes: Callable[[str], bool] = (
        (lambda found: found == BETTER) if gates.comparison == "bless_if_not_worse" else (lambda found: found != WORSE)
    )
    checks = []
    for part in compared:
        figures = f"NDCG@{k} {part.candidate:.4f}, the last blessed model's {part.last:.4f} ({part.name}"
        passed = passes(part.verdict)
        shown = "worse than" if part.verdict == WORSE else "not shown to keep"
        reason = f"{figures})" if passed else f"{figures}): {shown} {1 - part.tolerance:.0%} of it"
        checks.append(Check(part.name, passed, reason))
    return checks
