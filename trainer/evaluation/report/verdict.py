"""The verdict at the top of a run's page: whether the served recommender is better than the baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer.config.names import BY_POPULARITY
from trainer.evaluation.document import BETTER, MODELS, WORSE, main_metric, served
from trainer.evaluation.report.templates import enumerated


@dataclass(frozen=True)
class Verdict:
    """`tone`: "good", "unclear" or "bad"."""

    tone: str
    sentence: str
    details: list[str]


def verdict(evaluation: dict[str, Any], refusing_gates: list[str]) -> Verdict:
    """Compares the served recommender with the baselines.

    Args:
      evaluation: as `evaluation.schema.json` describes it.
      refusing_gates: names of the gates that refused the model.
    """
    result = _compared_with_baselines(evaluation)
    if not refusing_gates:
        return result
    gates = f"{enumerated(refusing_gates)} {'gate' if len(refusing_gates) == 1 else 'gates'}"
    return Verdict("bad", f"Not pushed: the {gates} refused the model.", [result.sentence, *result.details])


def _compared_with_baselines(evaluation: dict[str, Any]) -> Verdict:
    stage, metric = served(evaluation), main_metric(evaluation)
    comparisons = [c for c in evaluation["comparisons"] if c["metric"] == metric]
    baselines = [c for c in comparisons if c["model"] == stage and c["with"] not in MODELS]
    better = [c["with"] for c in baselines if c["verdict"] == WORSE]
    similar = [c["with"] for c in baselines if c["verdict"] not in (WORSE, BETTER)]
    if better:
        tone = "bad"
        sentence = f"{stage} is significantly worse than {enumerated(better)}: serve a simple baseline instead."
    elif similar:
        tone = "unclear"
        sentence = f"{stage} is not significantly different from {enumerated(similar)}: a simple baseline may do."
    else:
        tone, sentence = "good", f"{stage} is significantly better than every baseline."
    details = [_figure(evaluation, stage, metric)]
    if baselines:
        details.append(_best_baseline(evaluation, baselines, metric))
    details += [_reranking(evaluation, c) for c in comparisons if c["with"] == "retrieval"]
    if evaluation["split"] == "validation":
        details.append(
            "There is no test split. The validation events also chose the epoch, the weights of ranking and of ratings "
            "and the settings of the baselines, so all figures are slightly too good."
        )
    behind = _behind(evaluation, stage, metric)
    if behind:
        details.append(f"A baseline is ahead, with intervals that do not overlap, in: {'; '.join(behind)}.")
    return Verdict(tone, sentence[0].upper() + sentence[1:], details)


def _figure(evaluation: dict[str, Any], stage: str, metric: str) -> str:
    value, interval = evaluation["stages"][stage][metric], evaluation["intervals"][stage][metric]
    bounds = "too few users for an interval"
    if interval:
        bounds = f"95 % interval {interval[0]:.4f} to {interval[1]:.4f}"
    return f"{metric} of the served recommender, {stage}: {value:.4f} ({bounds}), over {evaluation['users']:,} users."


def _best_baseline(evaluation: dict[str, Any], comparisons: list[dict[str, Any]], metric: str) -> str:
    best = max(comparisons, key=lambda c: evaluation["stages"][c["with"]][metric])
    interval = best["interval"]
    bounds = f"95 % interval {interval[0]:+.4f} to {interval[1]:+.4f}, " if interval else ""
    return (
        f"The best baseline is {best['with']} with {evaluation['stages'][best['with']][metric]:.4f}. {best['model']} "
        f"differs from it by {best['difference']:+.4f} ({bounds}p = {best['p_value']:.3f})."
    )


def _reranking(evaluation: dict[str, Any], comparison: dict[str, Any]) -> str:
    amount = f"{abs(comparison['difference']):.4f} {comparison['metric']} over retrieval alone"
    effect = {BETTER: f"gains {amount}", WORSE: f"loses {amount}"}.get(
        comparison["verdict"], "is not significantly different from retrieval alone"
    )
    used = "It is served" if evaluation["ranking_is_served"] else "It is not served"
    reason = "as the validation split decided" if evaluation["use_ranking"] == "auto" else "as serving.use_ranking says"
    return f"Re-ranking {effect}. {used}, {reason}."


def _behind(evaluation: dict[str, Any], stage: str, metric: str) -> list[str]:
    """Slices in which a baseline's interval lies above that of a stage.

    Slices by the item's popularity do not count: popularity is always ahead on popular targets, but nobody knows
    beforehand that a user will choose one.
    """
    result = []
    for part in (part for part in evaluation["slices"] if part["by"] != BY_POPULARITY):
        interval = part["intervals"][stage][metric]
        baselines = {name: bounds[metric] for name, bounds in part["intervals"].items() if name not in MODELS}
        ahead = [name for name, other in baselines.items() if interval and other and other[0] > interval[1]]
        if ahead:
            result.append(f"{part['by']} {part['name']} ({enumerated(ahead)})")
    return result
