"""What a run's evaluation says, as one HTML page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from trainer.config.names import BY_POPULARITY
from trainer.evaluation.document import BETTER, MODELS, WORSE, main_metric, served
from trainer.evaluation.report.charts import Dot, dots, lines, reliability

# Metric -> what it says, in a line under the table that shows it.
MEANINGS = {
    "ndcg": "how far up the list the held-out items stand, 1 for the top",
    "hit_rate": "share of users with a held-out item on the list",
    "recall": "share of the held-out items on the list",
    "mrr": "1 / the first hit's place",
    "map": "mean precision at the hits' places",
    "coverage": "share of the candidate items that are on anybody's list",
    "gini": "how unequally items are shown: 0 all alike, 1 one alone",
    "novelty": "bits that the items' rarity is worth",
    "diversity": "mean distance of what is written about a list's items",
    "popularity_lift": "how much more popular lists are than histories: 1 is twice as popular",
    "cold_share": "share of the lists' items with at most 5 train events",
}
_SLICED = 12  # more values than that of one column are a table too long to read


@dataclass(frozen=True)
class Report:
    """All that the page is made from.

    Attributes:
      name: of the run's configuration.
      evaluation: as `evaluation.schema.json` describes it.
      examples: see `trainer.evaluation.examples`.
      training: model -> records of its epochs.
      data: counts of ingestion, as `report/data.json` has them; None where they are not known.
      index: what the index builder measured; None where that is not known.
      gates: `gate`, `passed`, `checks` of {`what`, `passed`, `reason`}, `note` and `measured` of each gate; what the
        drift gate measured has `divergence` of features, what that of the infrastructure did `latency` of signatures.
      rating_slices: of the probability of being liked, for all ratings and each slice `by`, `name`, `ratings`, `users`,
        `auc`, `log_loss`, `calibration`, `liked` and `said`, None where undefined.
      configuration: YAML.
      versions: package -> version.
      command: how to make the run again; "" where that is not known.
      made: when, for people.
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
    made: str = ""


@dataclass(frozen=True)
class Verdict:
    """`tone`: "good", "unclear" or "bad"."""

    tone: str
    sentence: str
    details: list[str]


def render(report: Report) -> str:
    """The page: HTML in one piece, nothing of which is fetched from anywhere."""
    found = report.evaluation
    order = [name for name in MODELS if name in found["stages"]]
    order += [name for name in found["stages"] if name not in MODELS]
    metric = main_metric(found)
    refused = [gate["gate"] for gate in report.gates if not gate["passed"]]
    said = verdict(found)
    if refused:
        said = Verdict("bad", f"Not pushed: refused by {_listed(refused)}.", [said.sentence, *said.details])
    return _template("report.html.j2").render(
        report=report,
        found=found,
        metric=metric,
        served=served(found),
        verdict=said,
        order=order,
        models=MODELS,
        accuracy=_columns(found, ("ndcg", "hit_rate", "recall", "mrr", "map")),
        beyond=_columns(found, ("coverage", "gini", "novelty", "diversity", "popularity_lift", "cold_share")),
        meanings=MEANINGS,
        overview=_overview(found, order, metric),
        training={name: _curves(name, records) for name, records in report.training.items() if len(records) > 1},
        slices=_slices(found, metric),
        exposure=_exposure(found, order),
        calibration=_calibration(found),
        unused=_unused(report.data),
        refused=refused,
        measured={key: value for gate in report.gates for key, value in gate["measured"].items()},
    )


def render_comparison(
    names: tuple[str, str],
    compared: dict[str, Any],
    evaluations: tuple[dict[str, Any], dict[str, Any]],
    notes: list[str],
) -> str:
    """The page on two runs.

    Args:
      names: of the runs.
      compared: see `trainer.evaluation.comparison.compare`.
      evaluations: of each run.
      notes: sentences on what else is to be known of the two.
    """
    main = compared["figures"][0]
    sentence = {
        BETTER: f"{names[1]} is better by {main['difference']:.4f} {main['metric']}.",
        WORSE: f"{names[1]} is worse by {-main['difference']:.4f} {main['metric']}.",
    }.get(main["verdict"], f"By {main['metric']} the two can not be told apart.")
    return _template("comparison.html.j2").render(
        first=names[0],
        second=names[1],
        found=compared,
        notes=notes,
        metric=main["metric"],
        sentence=sentence,
        tone={BETTER: "good", WORSE: "bad"}.get(main["verdict"], "unclear"),
        slices=_slices_of_both(evaluations, compared["stages"], main["metric"]),
    )


def _slices_of_both(
    evaluations: tuple[dict[str, Any], dict[str, Any]], stages: tuple[str, str], metric: str
) -> dict[str, Markup]:
    """A plot for each kind of slice, of the parts that both runs have."""
    first, second = ({(part["by"], part["name"]): part for part in found["slices"]} for found in evaluations)
    kinds: dict[str, dict[str, list[Dot]]] = {}
    for key in (key for key in first if key in second):
        small = " *" if first[key]["small"] or second[key]["small"] else ""
        pairs = ((first[key], stages[0], "A", "baseline"), (second[key], stages[1], "B", "model"))
        kinds.setdefault(key[0], {})[f"{key[1]}{small}: {first[key]['users']:,} users"] = [
            Dot(whose, part["stages"][stage][metric], part["intervals"][stage][metric], kind)
            for part, stage, whose, kind in pairs
        ]
    return {kind: dots(f"{metric} by {kind}: A and, below it, B", rows) for kind, rows in kinds.items()}


def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("trainer.evaluation.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def verdict(found: dict[str, Any]) -> Verdict:
    """Whether what is served beats the baselines, and what else is to be known before it is shipped."""
    stage, metric = served(found), main_metric(found)
    value, interval = found["stages"][stage][metric], found["intervals"][stage][metric]
    reach = (
        f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else " (too few users for an interval)"
    )
    mine = [c for c in found["comparisons"] if c["model"] == stage and c["metric"] == metric]
    baselines = [c for c in mine if c["with"] not in MODELS]
    worse = [c["with"] for c in baselines if c["verdict"] == WORSE]
    level = [c["with"] for c in baselines if c["verdict"] not in (WORSE, BETTER)]
    if worse:
        tone, sentence = "bad", f"{stage} is worse than {_listed(worse)}: a simple baseline would do better."
    elif level:
        tone, sentence = "unclear", f"{stage} can not be told apart from {_listed(level)}: a simple baseline may do."
    else:
        tone, sentence = "good", f"{stage} beats every baseline that was trained beside it."
    details = [f"{metric} of {stage}, which is served: {value:.4f}{reach}, over {found['users']:,} users."]
    if baselines:
        best = max(baselines, key=lambda c: found["stages"][c["with"]][metric])
        interval = best["interval"]
        reach = f"{interval[0]:+.4f} to {interval[1]:+.4f}, " if interval else ""
        details.append(
            f"The best baseline is {best['with']} with {found['stages'][best['with']][metric]:.4f}; the difference is "
            f"{best['difference']:+.4f} ({reach}p = {best['p_value']:.3f})."
        )
    ranked = [c for c in found["comparisons"] if c["with"] == "retrieval" and c["metric"] == metric]
    if ranked:
        said = {BETTER: "gains", WORSE: "loses"}.get(ranked[0]["verdict"], "can not be told to change")
        amount = f" {abs(ranked[0]['difference']):.4f}" if ranked[0]["verdict"] in (BETTER, WORSE) else " anything"
        used = "it is served" if found["ranking_is_served"] else "it is not served"
        why = "by what validation said" if found["use_ranking"] == "auto" else "as serving.use_ranking says"
        details.append(f"Ranking on top of retrieval {said}{amount} here; {used}, {why}.")
    if found["split"] == "validation":
        details.append(
            "No test split was held out: these events also chose the epoch, the weights of ranking and of ratings, and "
            "what baselines were tuned to, so all figures flatter a little."
        )
    behind = _behind(found, stage, metric)
    if behind:
        details.append(f"A baseline is ahead, beyond both intervals, for: {'; '.join(behind)}.")
    return Verdict(tone, sentence[0].upper() + sentence[1:], details)


def _behind(found: dict[str, Any], stage: str, metric: str) -> list[str]:
    """Slices in which a baseline's interval lies above that of a stage.

    Not those by the item's popularity: on what is popular, popularity is ahead of everything, and nobody knows
    beforehand that a user will take that.
    """
    result = []
    for part in (part for part in found["slices"] if part["by"] != BY_POPULARITY):
        mine = part["intervals"][stage][metric]
        others = {name: reach[metric] for name, reach in part["intervals"].items() if name not in MODELS}
        ahead = [name for name, reach in others.items() if mine and reach and reach[0] > mine[1]]
        if ahead:
            result.append(f"{part['by']} {part['name']} ({_listed(ahead)})")
    return result


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _columns(found: dict[str, Any], kinds: tuple[str, ...]) -> list[str]:
    """The metrics of these kinds, without those at the middle cutoffs and those that repeat another.

    Where everybody has one held-out item, recall is the hit rate and average precision the reciprocal rank.
    """
    some = found["stages"]["retrieval"]
    cutoffs = sorted({int(name.split("@")[1]) for name in some if name.split("@")[0] == "ndcg"})
    kept = {10 if 10 in cutoffs else cutoffs[-1], cutoffs[-1]} if "ndcg" in kinds else {found["list_length"]}
    found_at = [f"{kind}@{k}" for kind in kinds for k in sorted(kept) if f"{kind}@{k}" in some]
    found_at = [name for name in found_at if not name.startswith(("mrr", "map")) or name.endswith(f"@{min(kept)}")]
    columns: list[str] = []
    for name in found_at:
        if not any(all(stage[name] == stage[other] for stage in found["stages"].values()) for other in columns):
            columns.append(name)
    return columns


def _overview(found: dict[str, Any], order: list[str], metric: str) -> Markup:
    rows = {
        f"{name} (served)" if name == served(found) else name: [_dot(found, name, metric)]
        for name in sorted(order, key=lambda name: -found["stages"][name][metric])
    }
    return dots(f"{metric} of every recommender, with 95 % intervals", rows)


def _dot(part: dict[str, Any], name: str, metric: str) -> Dot:
    """Of a stage, over all or over a slice."""
    kind = "model" if name in MODELS else "baseline"
    return Dot(name, part["stages"][name][metric], part["intervals"][name][metric], kind)


def _curves(name: str, records: list[dict[str, Any]]) -> list[Markup]:
    epochs = [record["epoch"] for record in records]
    plots = []
    measured = [(record["epoch"], record["ndcg@10"]) for record in records if "ndcg@10" in record]
    if measured:
        title = f"{name}: NDCG@10 on validation"
        plots.append(lines(title, {"NDCG@10": measured}, "epoch", "NDCG@10 on validation", from_zero=False))
    loss = list(zip(epochs, (record["loss"] for record in records), strict=True))
    plots.append(lines(f"{name}: training loss", {"loss": loss}, "epoch", "training loss", from_zero=False))
    return plots


def _slices(found: dict[str, Any], metric: str) -> list[dict[str, Any]]:
    """For each kind of slice its parts, and a plot of the served stage beside the best baseline of all."""
    stage = served(found)
    baselines = [name for name in found["stages"] if name not in MODELS]
    best = max(baselines, key=lambda name: found["stages"][name][metric])
    result = []
    for kind in dict.fromkeys(part["by"] for part in found["slices"]):
        every = [part for part in found["slices"] if part["by"] == kind]
        parts = every if len(every) <= _SLICED else _largest(every)
        rows = {
            f"{part['name']}{' *' if part['small'] else ''}: {part['users']:,} users": [
                _dot(part, name, metric) for name in (stage, best)
            ]
            for part in parts
        }
        plot = dots(f"{metric} by {kind}: {stage} and, below it, {best}", rows)
        result.append(
            {"by": kind, "parts": parts, "plot": plot, "stage": stage, "best": best, "more": len(every) - len(parts)}
        )
    return result


def _largest(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The _SLICED parts with the most users, in the order they had."""
    least = sorted((part["users"] for part in parts), reverse=True)[_SLICED - 1]
    return [part for part in parts if part["users"] >= least][:_SLICED]


def _exposure(found: dict[str, Any], order: list[str]) -> Markup:
    parts = found["exposure"]
    if len(parts) < 2:
        return Markup("")
    series = {"train events": [(i, part["events"]) for i, part in enumerate(parts)]}
    series |= {name: [(i, part["shown"][name]) for i, part in enumerate(parts)] for name in order[:5]}
    return lines(
        "Share of list places and of train events, by how often an item is taken",
        series,
        "train events of the item, from",
        "share",
        from_zero=True,
        x_names=[f"{part['from']:,}" for part in parts],
    )


def _unused(data: dict[str, Any] | None) -> list[tuple[str, str, int]]:
    """(table, reason, rows) of what was put into quarantine, or noted."""
    tables = data["tables"] if data else {}
    return [
        (name, reason, rows)
        for name, table in tables.items()
        for reason, rows in {**table["broken"], **table["notes"]}.items()
    ]


def _calibration(found: dict[str, Any]) -> Markup:
    if not found["ratings"]:
        return Markup("")
    points = [(part["probability"], part["share"]) for part in found["ratings"]["reliability"]]
    return reliability("Probability of being liked: said and seen", points)
