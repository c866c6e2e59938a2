"""The evaluation of a run as one HTML page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from trainer.evaluation.document import MODELS, in_words, main_metric, served
from trainer.evaluation.report.charts import Dot, dots, lines, reliability
from trainer.evaluation.report.templates import render_template
from trainer.evaluation.report.verdict import verdict

# Metric -> its meaning, shown below the table that has it.
MEANINGS = {
    "ndcg": "normalised discounted cumulative gain: 1 if the held-out items are at the top of the list, less below",
    "hit_rate": "share of users with a held-out item on the list",
    "recall": "share of a user's held-out items that are on the list",
    "mrr": "mean of 1 / rank of the first held-out item on the list",
    "map": "mean average precision",
    "coverage": "share of the candidate items that are on the list of at least one user",
    "gini": "Gini index of how often items are recommended: 0 if all equally often, 1 if only one item",
    "novelty": "mean self-information of the recommended items, in bits: higher for rarer items",
    "diversity": "mean cosine distance between the texts of the items on a list",
    "popularity_lift": "how much more popular recommended items are than those of the histories: 1 is twice as popular",
    "cold_share": "share of the recommended items with at most 5 train events",
}
MAX_SLICES = 12  # of one kind; a longer table is hard to read
MAX_CURVES = 5  # recommenders in the plot of exposure


@dataclass(frozen=True)
class Report:
    """Everything that the page shows.

    Attributes:
      name: of the run's configuration.
      evaluation: as `evaluation.schema.json` describes it.
      examples: see `trainer.evaluation.examples`.
      training: model -> records of its epochs.
      data: counts of ingestion, as in `report/data.json`; None if unknown.
      index: measurements of the index builder; None if unknown.
      gates: `gate`, `passed`, `checks` of {`what`, `passed`, `reason`}, `note` and `measured` of each gate; `measured`
        has the `divergence` of features for the drift gate, and the `latency` of signatures for the infrastructure
        gate.
      rating_slices: metrics of the predicted probability of being liked, for all ratings and each slice: `by`, `name`,
        `ratings`, `users`, `auc`, `log_loss`, `calibration`, `liked` and `said` (the mean prediction), None where
        undefined.
      configuration: YAML.
      versions: package -> version.
      command: how to repeat the run; "" if unknown.
      created: when the page was created, for people.
    """

    name: str
    evaluation: dict[str, Any]
    examples: list[dict[str, Any]] = field(default_factory=list)
    training: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    data: dict[str, Any] | None = None
    index: dict[str, Any] | None = None
    gates: list[dict[str, Any]] = field(default_factory=list)
    rating_slices: list[dict[str, Any]] = field(default_factory=list)
    configuration: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    created: str = ""


def render(report: Report) -> str:
    """The page: one HTML file that loads nothing from elsewhere."""
    evaluation = report.evaluation
    order = [name for name in MODELS if name in evaluation["stages"]]
    order += [name for name in evaluation["stages"] if name not in MODELS]
    metric = main_metric(evaluation)
    refusing_gates = [gate["gate"] for gate in report.gates if not gate["passed"]]
    return render_template(
        "report.html.j2",
        report=report,
        evaluation=evaluation,
        metric=metric,
        served=served(evaluation),
        verdict=verdict(evaluation, refusing_gates),
        order=order,
        accuracy=_columns(evaluation, ("ndcg", "hit_rate", "recall", "mrr", "map")),
        list_metrics=_columns(
            evaluation, ("coverage", "gini", "novelty", "diversity", "popularity_lift", "cold_share")
        ),
        meanings=MEANINGS,
        overview=_overview(evaluation, order, metric),
        training={name: _curves(name, records) for name, records in report.training.items() if len(records) > 1},
        slices=_slices(evaluation, metric),
        exposure=_exposure(evaluation, order),
        calibration=_calibration(evaluation),
        reasons=_reasons(report.data),
        refusing_gates=refusing_gates,
        measured={key: value for gate in report.gates for key, value in gate["measured"].items()},
        in_words=in_words,
    )


def _columns(evaluation: dict[str, Any], kinds: tuple[str, ...]) -> list[str]:
    """Metrics of these kinds at the main and at the largest cutoff. A metric that equals an earlier one is left out.

    If every user has one held-out item, recall equals the hit rate, and average precision the reciprocal rank.
    """
    stages = evaluation["stages"]
    metrics = stages["retrieval"]
    cutoffs = sorted({int(name.split("@")[1]) for name in metrics if name.split("@")[0] == "ndcg"})
    shown = {10 if 10 in cutoffs else cutoffs[-1], cutoffs[-1]} if "ndcg" in kinds else {evaluation["list_length"]}
    names = [f"{kind}@{k}" for kind in kinds for k in sorted(shown) if f"{kind}@{k}" in metrics]
    names = [name for name in names if not name.startswith(("mrr", "map")) or name.endswith(f"@{min(shown)}")]
    columns: list[str] = []
    for name in names:
        if not any(all(stage[name] == stage[other] for stage in stages.values()) for other in columns):
            columns.append(name)
    return columns


def _overview(evaluation: dict[str, Any], order: list[str], metric: str) -> Markup:
    rows = {
        f"{name} (served)" if name == served(evaluation) else name: [_dot(evaluation, name, metric)]
        for name in sorted(order, key=lambda name: -evaluation["stages"][name][metric])
    }
    return dots(f"{metric} of every recommender, with 95 % intervals", rows)


def _dot(part: dict[str, Any], name: str, metric: str) -> Dot:
    """The figure of a stage, in the whole evaluation or in a slice."""
    kind = "model" if name in MODELS else "baseline"
    return Dot(name, part["stages"][name][metric], part["intervals"][name][metric], kind)


def _curves(name: str, records: list[dict[str, Any]]) -> list[Markup]:
    plots = []
    ndcg = [(record["epoch"], record["ndcg@10"]) for record in records if "ndcg@10" in record]
    if ndcg:
        title = f"{name}: NDCG@10 on validation"
        plots.append(lines(title, {"NDCG@10": ndcg}, "epoch", "NDCG@10 on validation", from_zero=False))
    loss = [(record["epoch"], record["loss"]) for record in records]
    plots.append(lines(f"{name}: training loss", {"loss": loss}, "epoch", "training loss", from_zero=False))
    return plots


def _slices(evaluation: dict[str, Any], metric: str) -> list[dict[str, Any]]:
    """For each kind of slice its parts, and a plot of the served stage and of the baseline that is best overall."""
    stage = served(evaluation)
    baselines = [name for name in evaluation["stages"] if name not in MODELS]
    best = max(baselines, key=lambda name: evaluation["stages"][name][metric])
    result = []
    for kind in dict.fromkeys(part["by"] for part in evaluation["slices"]):
        all_parts = [part for part in evaluation["slices"] if part["by"] == kind]
        parts = all_parts if len(all_parts) <= MAX_SLICES else _largest(all_parts)
        rows = {
            f"{part['name']}{' *' if part['small'] else ''}: {part['users']:,} users": [
                _dot(part, name, metric) for name in (stage, best)
            ]
            for part in parts
        }
        result.append(
            {
                "by": kind,
                "parts": parts,
                "plot": dots(f"{metric} by {kind}: {stage} and, below it, {best}", rows),
                "stage": stage,
                "best": best,
                "more": len(all_parts) - len(parts),
            }
        )
    return result


def _largest(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The MAX_SLICES parts with the most users, in their original order."""
    threshold = sorted((part["users"] for part in parts), reverse=True)[MAX_SLICES - 1]
    return [part for part in parts if part["users"] >= threshold][:MAX_SLICES]


def _exposure(evaluation: dict[str, Any], order: list[str]) -> Markup:
    parts = evaluation["exposure"]
    if len(parts) < 2:
        return Markup("")
    series = {"train events": [(i, part["events"]) for i, part in enumerate(parts)]}
    series |= {name: [(i, part["shown"][name]) for i, part in enumerate(parts)] for name in order[:MAX_CURVES]}
    return lines(
        "Share of recommendations and of train events, by the popularity of the item",
        series,
        "train events of the item, at least",
        "share",
        from_zero=True,
        x_names=[f"{part['from']:,}" for part in parts],
    )


def _reasons(data: dict[str, Any] | None) -> list[tuple[str, str, int]]:
    """(table, reason, rows) of the rows in quarantine, and of the notes."""
    tables = data["tables"] if data else {}
    return [
        (name, reason, rows)
        for name, table in tables.items()
        for reason, rows in {**table["broken"], **table["notes"]}.items()
    ]


def _calibration(evaluation: dict[str, Any]) -> Markup:
    if not evaluation["ratings"]:
        return Markup("")
    points = [(part["probability"], part["share"]) for part in evaluation["ratings"]["reliability"]]
    return reliability("Probability of being liked: predicted and observed", points)
