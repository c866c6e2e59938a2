"""evaluation.json, for its readers: what is in it is in `evaluation.schema.json`. Needs no TensorFlow."""

from __future__ import annotations

from typing import Any

FORMAT = 2
MODELS = ("retrieval", "recommend")  # the run's own stages; what else there is are baselines
BY_POPULARITY = "popularity of the item"  # the slices that are about held-out items, and not about users
BETTER, WORSE, UNDECIDED = "better", "worse", "not told apart"


def served(evaluation: dict[str, Any]) -> str:
    """The stage that `recommend` answers with."""
    return "recommend" if evaluation["ranking_is_served"] else "retrieval"


def main_metric(evaluation: dict[str, Any]) -> str:
    """The metric that verdicts are about."""
    return evaluation["slices_by"][0]
