"""Reads evaluation.json, whose contents `evaluation.schema.json` describes. Needs no TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainer.errors import TowersError

FILE = "evaluation.json"
FORMAT = 3
MODELS = ("retrieval", "recommend")  # the stages of the run's own models; all other stages are baselines
BETTER, WORSE, UNDECIDED = "better", "worse", "not told apart"  # verdicts as stored; `in_words` has those shown


def read(directory: str | Path) -> dict[str, Any]:
    """The evaluation in a directory.

    Raises:
      TowersError: there is none, or its format is not that of this version.
    """
    path = Path(directory, FILE)
    try:
        evaluation = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TowersError(f"{path}: cannot be read ({error}). Evaluate the run again.") from None
    if not isinstance(evaluation, dict) or evaluation.get("format") != FORMAT:
        received = evaluation.get("format") if isinstance(evaluation, dict) else type(evaluation).__name__
        raise TowersError(
            f"{path}: should be an evaluation of format {FORMAT}. Received: {received!r}. Evaluate the run again."
        )
    return evaluation


def served(evaluation: dict[str, Any]) -> str:
    """The stage whose lists `recommend` returns."""
    return "recommend" if evaluation["ranking_is_served"] else "retrieval"


def main_metric(evaluation: dict[str, Any]) -> str:
    """The metric that verdicts are based on."""
    return evaluation["slices_by"][0]


def in_words(verdict: str) -> str:
    """A stored verdict as it is shown to people."""
    return "no significant difference" if verdict == UNDECIDED else verdict
