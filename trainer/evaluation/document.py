"""evaluation.json, for its readers: what is in it is in `evaluation.schema.json`. Needs no TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainer.errors import TowersError

FILE = "evaluation.json"
FORMAT = 3
MODELS = ("retrieval", "recommend")  # the run's own stages; what else there is are baselines
BETTER, WORSE, UNDECIDED = "better", "worse", "not told apart"


def read(directory: str | Path) -> dict[str, Any]:
    """The evaluation that lies in a directory.

    Raises:
      TowersError: there is none, or one that this version does not read.
    """
    path = Path(directory, FILE)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TowersError(f"{path}: can not be read ({error}). Evaluate the run again.") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        received = found.get("format") if isinstance(found, dict) else type(found).__name__
        raise TowersError(
            f"{path}: should be an evaluation of format {FORMAT}. Received: {received!r}. Evaluate the run again."
        )
    return found


def served(evaluation: dict[str, Any]) -> str:
    """The stage that `recommend` answers with."""
    return "recommend" if evaluation["ranking_is_served"] else "retrieval"


def main_metric(evaluation: dict[str, Any]) -> str:
    """The metric that verdicts are about."""
    return evaluation["slices_by"][0]
