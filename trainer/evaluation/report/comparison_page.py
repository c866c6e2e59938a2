"""The comparison of two runs as one HTML page."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from trainer.evaluation.document import BETTER, WORSE, in_words
from trainer.evaluation.report.charts import Dot, dots
from trainer.evaluation.report.templates import render_template


def render_comparison(
    names: tuple[str, str],
    comparison: dict[str, Any],
    evaluations: tuple[dict[str, Any], dict[str, Any]],
    notes: list[str],
) -> str:
    """The page that compares two runs.

    Args:
      names: of the runs.
      comparison: see `trainer.evaluation.comparison.compare`.
      evaluations: of each run.
      notes: sentences on other differences of the runs.
    """
    main = comparison["figures"][0]
    sentence = {
        BETTER: f"{names[1]} is significantly better: {main['difference']:+.4f} {main['metric']}.",
        WORSE: f"{names[1]} is significantly worse: {main['difference']:+.4f} {main['metric']}.",
    }.get(main["verdict"], f"There is no significant difference in {main['metric']}.")
    return render_template(
        "comparison.html.j2",
        first=names[0],
        second=names[1],
        comparison=comparison,
        notes=notes,
        metric=main["metric"],
        sentence=sentence,
        tone={BETTER: "good", WORSE: "bad"}.get(main["verdict"], "unclear"),
        slices=_slice_plots(evaluations, comparison["stages"], main["metric"]),
        in_words=in_words,
    )


def _slice_plots(
    evaluations: tuple[dict[str, Any], dict[str, Any]], stages: tuple[str, str], metric: str
) -> dict[str, Markup]:
    """A plot for each kind of slice, with the slices that both runs have."""
    first, second = ({(part["by"], part["name"]): part for part in one["slices"]} for one in evaluations)
    kinds: dict[str, dict[str, list[Dot]]] = {}
    for key in (key for key in first if key in second):
        small = " *" if first[key]["small"] or second[key]["small"] else ""
        pairs = ((first[key], stages[0], "A", "baseline"), (second[key], stages[1], "B", "model"))
        kinds.setdefault(key[0], {})[f"{key[1]}{small}: {first[key]['users']:,} users"] = [
            Dot(run, part["stages"][stage][metric], part["intervals"][stage][metric], kind)
            for part, stage, run, kind in pairs
        ]
    return {kind: dots(f"{metric} by {kind}: A and, below it, B", rows) for kind, rows in kinds.items()}
