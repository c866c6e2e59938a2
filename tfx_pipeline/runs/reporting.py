"""Writes the report of a finished run and the comparison of two runs, from the outputs of their steps."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from serving.model_files import METADATA
from tfx_pipeline.gates import verdict
from tfx_pipeline.runs.run_directory import RunDirectory
from trainer.config import Config
from trainer.errors import TowersError
from trainer.evaluation import document, per_user
from trainer.evaluation.comparison import compare
from trainer.evaluation.report.comparison_page import render_comparison
from trainer.evaluation.report.page import Report, render
from trainer.files import write_text

PAGE, COMPARISON = "report.html", "comparison.html"
RATING_SLICES = "rating_slices.json"
_SAVED_MODEL = "Format-Serving"  # TFX's directory of the SavedModel in a Model artifact
# Steps that judge a model, and their outputs that hold the verdict.
_GATES = (
    ("QualityGate", "verdict"),
    ("IndexGate", "verdict"),
    ("SkewGate", "verdict"),
    ("DriftGate", "verdict"),
    ("EmbeddedInfraValidator", "blessing"),
)


def evaluation_document(
    config: Config, split: str, figures: dict[str, Any], *, ranking_is_served: bool
) -> dict[str, Any]:
    """The content of evaluation.json, which `evaluation.schema.json` describes.

    Args:
      config: the run's configuration.
      split: the evaluated split.
      figures: `document` of the result of `evaluate_in_detail`.
      ranking_is_served: whether `recommend` uses the ranking model.
    """
    return {
        "split": split,
        "ranking_is_served": ranking_is_served,
        "use_ranking": config.serving.use_ranking,
        **figures,
    }


def write_report(directory: RunDirectory, out: Path | None = None) -> Path:
    """Writes the page of the last finished run.

    Args:
      directory: the run's directory.
      out: the file to write; `report/report.html` in the run's directory by default.

    Returns:
      The file that was written.

    Raises:
      TowersError: the directory holds no finished run.
    """
    evaluation = Path(directory.output("Evaluator", "evaluation"))
    saved_model = Path(directory.output("Exporter", "model"), _SAVED_MODEL)
    config = directory.finished_config()
    training = {"retrieval": _read(directory.output("RetrievalTrainer", "towers"), "history.json")}
    if config.ranking.enabled:
        training["ranking"] = _read(directory.output("RankingTrainer", "ranker"), "history.json")
    report = Report(
        name=config.name,
        evaluation=document.read(evaluation),
        examples=_read(evaluation, "examples.json"),
        training=training,
        data=_read(directory.output("Ingest", "quarantine"), "counts.json"),
        index=_read(directory.output("IndexBuilder", "index"), "index.json")["report"],
        gates=[_read(gate, verdict.FILE) for gate in _gate_outputs(directory)],
        rating_slices=_read(evaluation, RATING_SLICES) if (evaluation / RATING_SLICES).exists() else [],
        configuration=config.to_yaml(),
        versions=_read(saved_model, str(METADATA))["versions"],
        command=directory.command(),
        created=time.strftime("%Y-%m-%d %H:%M"),
    )
    path = out or directory.report / PAGE
    write_text(path, render(report))
    return path


def write_comparison(
    first: RunDirectory, second: RunDirectory, out: Path | None = None
) -> tuple[Path, dict[str, Any], list[str]]:
    """Compares the served stages of two finished runs and writes the page.

    Args:
      first, second: directories of the runs.
      out: the file to write; `report/comparison.html` in the second run's directory by default.

    Returns:
      (the file that was written, the result of `trainer.evaluation.comparison.compare`, notes for the reader).

    Raises:
      TowersError: a directory holds no finished run, or the runs cannot be compared.
    """
    directories = [Path(run.output("Evaluator", "evaluation")) for run in (first, second)]
    evaluations = (document.read(directories[0]), document.read(directories[1]))
    _check_comparable((first, second), evaluations)
    comparison = compare(
        per_user.read(directories[0]),
        per_user.read(directories[1]),
        (document.served(evaluations[0]), document.served(evaluations[1])),
        seed=second.finished_config().seed,
    )
    names = (first.path.name, second.path.name)
    if names[0] == names[1]:
        names = (str(first.path), str(second.path))
    notes = _notes((first, second), evaluations)
    path = out or second.report / COMPARISON
    write_text(path, render_comparison(names, comparison, evaluations, notes))
    return path, comparison, notes


def _check_comparable(runs: tuple[RunDirectory, RunDirectory], evaluations: tuple[dict, dict]) -> None:
    """Raises TowersError if the runs were evaluated on different events or by different rules."""
    if evaluations[0]["split"] != evaluations[1]["split"]:
        raise TowersError(
            f"{runs[0].path} was evaluated on {evaluations[0]['split']}, {runs[1].path} on {evaluations[1]['split']}: "
            "compare runs with the same data.split.test."
        )
    first, second = (_evaluation_rules(run.finished_config()) for run in runs)
    different = sorted(name for name in first if first[name] != second[name])
    if different:
        raise TowersError(
            f"the runs were evaluated with different settings ({', '.join(different)}): compare runs in which these "
            "are the same."
        )


def _evaluation_rules(config: Config) -> dict[str, Any]:
    """The settings that decide which events are held out, which items are ranked and what requests contain."""
    evaluation, data = config.evaluation, config.data
    return {
        **{f"data.split.{name}": value for name, value in data.split.model_dump().items()},
        "data.repeats": data.repeats,
        "evaluation.candidates": evaluation.candidates,
        "evaluation.with_query": evaluation.with_query,
        "evaluation.with_timestamp": evaluation.with_timestamp,
        "data.exclude_history": data.exclude_history,
        "data.exclude_recent_seconds": data.exclude_recent_seconds,
    }


def _notes(runs: tuple[RunDirectory, RunDirectory], evaluations: tuple[dict, dict]) -> list[str]:
    """Sentences on refused models and on different sets of ranked items."""
    notes = []
    for title, run in zip("AB", runs, strict=True):
        verdicts = [verdict.read(gate) for gate in _gate_outputs(run)]
        refusals = [f"{gate.gate} ({gate.why})" for gate in verdicts if not gate.passed]
        if refusals:
            notes.append(f"{title} was not pushed: refused by {', '.join(refusals)}.")
    first, second = (evaluation["candidates"] for evaluation in evaluations)
    if first["digest"] != second["digest"]:
        notes.append(
            f"The runs ranked different items: A {first['count']:,} items, B {second['count']:,}. "
            "Figures are higher where fewer items are ranked."
        )
    return notes


def _gate_outputs(directory: RunDirectory) -> list[str]:
    """Directories of the verdicts of the run's gates."""
    return [directory.output(step, key) for step, key in _GATES if directory.has(step)]


def _read(directory: str | Path, name: str) -> Any:
    return json.loads(Path(directory, name).read_text(encoding="utf-8"))
