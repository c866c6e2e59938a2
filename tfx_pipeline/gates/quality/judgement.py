"""Judges whether an export recommends well enough: against limits, baselines and the last blessed model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfx_pipeline.gates.verdict import Check, check_limit
from trainer.config import GatesConfig
from trainer.errors import UsageError
from trainer.evaluation import metrics
from trainer.evaluation.document import BETTER, WORSE, main_metric, served
from trainer.evaluation.slices import Slice
from trainer.evaluation.targets import Targets
from trainer.evaluation.uncertainty import MIN_USERS, differences, holm, verdict

GATE = "quality"


def check_limits(gates: GatesConfig, evaluation: dict[str, Any]) -> list[Check]:
    """Compares the figures of the served stage with `gates.least` and with those of `gates.baselines`.

    A baseline is a reason to refuse the model only if the model is significantly worse than it.

    Args:
      gates: the limits.
      evaluation: the content of evaluation.json.

    Raises:
      UsageError: the evaluation has no such metric or baseline.
    """
    stage = served(evaluation)
    figures = evaluation["stages"][stage]
    checks = []
    for metric, minimum in gates.least.items():
        if metric not in figures:
            raise UsageError(f"`gates.least` should name metrics ({', '.join(figures)}). Received: {metric!r}")
        value = figures[metric]
        checks.append(check_limit(metric, value >= minimum, f"{metric} {value:.4f}", f"at least {minimum:g}"))
    return checks + [_check_baseline(evaluation, stage, baseline) for baseline in gates.baselines]


def _check_baseline(evaluation: dict[str, Any], stage: str, baseline: str) -> Check:
    metric = main_metric(evaluation)
    comparisons = {(row["model"], row["with"], row["metric"]): row["verdict"] for row in evaluation["comparisons"]}
    outcome = comparisons.get((stage, baseline, metric))
    if outcome is None:
        baselines = ", ".join(sorted({row["with"] for row in evaluation["comparisons"]} - {"retrieval"}))
        raise UsageError(f"`gates.baselines` should name baselines of this run ({baselines}). Received: {baseline!r}")
    relation = f"{outcome} than" if outcome in (BETTER, WORSE) else "not significantly different from"
    value, baseline_value = (evaluation["stages"][name][metric] for name in (stage, baseline))
    return Check(
        f"{baseline} by {metric}",
        outcome != WORSE,
        f"{metric} {value:.4f}, {relation} {baseline} ({baseline_value:.4f})",
    )


@dataclass(frozen=True)
class PairedRanks:
    """Ranks of the same held-out targets in the lists of two exports.

    Attributes:
      candidate: int64 [targets], ranks from 1 in the new export's lists; 0 if the target is not in the list.
      last: the same of the last blessed model.
      targets: users and items of the targets.
      k: cutoff of NDCG; the lists have at least k items.
    """

    candidate: np.ndarray
    last: np.ndarray
    targets: Targets
    k: int


@dataclass(frozen=True)
class SliceComparison:
    """Both exports over the users of one slice, or over all users.

    Attributes:
      name: of the slice.
      users: number of users.
      candidate: mean NDCG@k of the new export.
      last: mean NDCG@k of the last blessed model.
      tolerance: the share of `last` that the new export may lose.
      verdict: whether `candidate` is better or worse than (1 - tolerance) * `last`, or not significantly different.
      p_value: of that test; for slices, adjusted for their number (Holm).
    """

    name: str
    users: int
    candidate: float
    last: float
    tolerance: float
    verdict: str
    p_value: float


@dataclass(frozen=True)
class _Sample:
    """NDCG@k of both exports for each user of a slice: float [users]."""

    name: str
    tolerance: float
    candidate: np.ndarray
    last: np.ndarray


def compare(
    gates: GatesConfig, ranks: PairedRanks, slices: Sequence[Slice], seed: int
) -> tuple[list[SliceComparison], str]:
    """Compares NDCG@k of both exports over all users and over the slices of `gates.slices`.

    Fisher's paired randomisation test compares the candidate's figures, user by user, with those of the last blessed
    model less the tolerance. The p-values of the slices are adjusted for the number of slices; that of all users is
    not, so it does not depend on how many slices there are.

    Args:
      gates: the limits.
      ranks: of both exports.
      slices: all slices of the targets.
      seed: of the random signs.

    Returns:
      (comparisons: first all users, then the slices that have enough users; a note that names what has too few users,
      or "").
    """
    all_users = _sample(ranks, Slice("", "all users", np.ones(len(ranks.targets.item), bool)), gates.tolerance)
    samples = [_sample(ranks, part, gates.slice_tolerance) for part in slices if part.by in gates.slices]
    small = [sample for sample in [all_users, *samples] if len(sample.last) < MIN_USERS]
    compared = [all_users, *(sample for sample in samples if len(sample.last) >= MIN_USERS)]
    tests = [
        differences([sample.last * (1 - sample.tolerance)], [sample.candidate], seed=seed)[0] for sample in compared
    ]
    p_values = [tests[0].p_value, *holm([test.p_value for test in tests[1:]])]
    comparisons = [
        SliceComparison(
            name=sample.name,
            users=len(sample.last),
            candidate=_mean(sample.candidate),
            last=_mean(sample.last),
            tolerance=sample.tolerance,
            verdict=verdict(test.value, p_value),
            p_value=p_value,
        )
        for sample, test, p_value in zip(compared, tests, p_values, strict=True)
    ]
    names = ", ".join(f"{sample.name} ({len(sample.last)})" for sample in small)
    return comparisons, f"fewer than {MIN_USERS} users, too few to compare: {names}" if small else ""


def _sample(ranks: PairedRanks, part: Slice, tolerance: float) -> _Sample:
    targets = ranks.targets.subset(part.targets)
    users = np.flatnonzero(np.diff(targets.offsets))
    candidate, last = (
        metrics.per_user(values[part.targets], targets.offsets, [ranks.k])[f"ndcg@{ranks.k}"][users]
        for values in (ranks.candidate, ranks.last)
    )
    return _Sample(f"{part.by}: {part.name}" if part.by else part.name, tolerance, candidate, last)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def check_comparisons(gates: GatesConfig, comparisons: Sequence[SliceComparison], k: int) -> list[Check]:
    """One check for each comparison with the last blessed model.

    With `gates.comparison` "refuse_if_worse", a check fails if the candidate is significantly worse than the tolerance
    allows. With "bless_if_not_worse", it passes only if the candidate is significantly better than that.
    """
    checks = []
    for part in comparisons:
        passed = part.verdict == BETTER if gates.comparison == "bless_if_not_worse" else part.verdict != WORSE
        reason = f"NDCG@{k} {part.candidate:.4f}, the last blessed model's {part.last:.4f} ({part.name})"
        if not passed:
            relation = "worse than" if part.verdict == WORSE else "not shown to be better than"
            reason += f": {relation} {1 - part.tolerance:.0%} of it"
        checks.append(Check(part.name, passed, reason))
    return checks


def missing_last_model(model: str, serving_directory: str) -> Check:
    """The failed check of a gate that cannot find the files of the last blessed model.

    Args:
      model: where its SavedModel was.
      serving_directory: of pushed versions, which has none either.
    """
    return Check(
        "last blessed model",
        False,
        f"the last blessed model is missing ({model}), and {serving_directory} has no version: put it back, or give "
        "--out another directory",
    )
