"""The report of a finished run: gathers what its steps left, and writes the page."""

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
from trainer.evaluation.report.page import Report, render, render_comparison
from trainer.files import write_text

PAGE, COMPARISON = "report.html", "comparison.html"
RATING_SLICES = "rating_slices.json"
_EXPORTED = "Format-Serving"  # where TFX has the SavedModel in a Model artifact
_GATES = (
    ("QualityGate", "verdict"),
    ("IndexGate", "verdict"),
    ("SkewGate", "verdict"),
    ("DriftGate", "verdict"),
    ("EmbeddedInfraValidator", "blessing"),
)


def write_report(directory: RunDirectory, out: Path | None = None) -> Path:
    """Writes the page of the last finished run, `report/report.html` by default; returns where.

    Raises:
      TowersError: no run was finished here.
    """
    evaluated = Path(directory.output("Evaluator", "evaluation"))
    config = directory.finished_config()
    training = {"retrieval": _read(directory.output("RetrievalTrainer", "towers"), "history.json")}
    if config.ranking.enabled:
        training["ranking"] = _read(directory.output("RankingTrainer", "ranker"), "history.json")
    report = Report(
        name=config.name,
        evaluation=document.read(evaluated),
        examples=_read(evaluated, "examples.json"),
        training=training,
        data=_read(directory.output("Ingest", "quarantine"), "counts.json"),
        index=_read(directory.output("IndexBuilder", "index"), "index.json")["report"],
        gates=[_read(directory.output(step, key), verdict.FILE) for step, key in _gates(directory)],
        rating_slices=_read(evaluated, RATING_SLICES) if (evaluated / RATING_SLICES).exists() else [],
        configuration=config.to_yaml(),
        versions=_read(Path(directory.output("Exporter", "model"), _EXPORTED), str(METADATA))["versions"],
        command=directory.command(),
        made=time.strftime("%Y-%m-%d %H:%M"),
    )
    path = out or directory.report / PAGE
    write_text(path, render(report))
    return path


def write_comparison(
    first: RunDirectory, second: RunDirectory, out: Path | None = None
) -> tuple[Path, dict[str, Any], list[str]]:
    """Compares what two finished runs serve, and writes the page, `report/comparison.html` of the second by default.

    Returns:
      (where, what `compare` returns, sentences on what else is to be known of the two).

    Raises:
      TowersError: one was not finished, or they have no held-out users in common.
    """
    directories = [Path(run.output("Evaluator", "evaluation")) for run in (first, second)]
    evaluations = (document.read(directories[0]), document.read(directories[1]))
    if evaluations[0]["split"] != evaluations[1]["split"]:
        raise TowersError(
            f"{first.path} was evaluated on {evaluations[0]['split']}, {second.path} on {evaluations[1]['split']}: "
            "compare runs with the same data.split.test."
        )
    settings = [_decides_cases(run.finished_config()) for run in (first, second)]
    if settings[0] != settings[1]:
        different = sorted(name for name in settings[0] if settings[0][name] != settings[1][name])
        raise TowersError(
            f"the runs were evaluated otherwise ({', '.join(different)}): compare runs that agree in that."
        )
    stages = (document.served(evaluations[0]), document.served(evaluations[1]))
    compared = compare(
        per_user.read(directories[0]), per_user.read(directories[1]), stages, seed=second.finished_config().seed
    )
    names = (first.path.name, second.path.name)
    if names[0] == names[1]:
        names = (str(first.path), str(second.path))
    notes = _notes((first, second), evaluations)
    path = out or second.report / COMPARISON
    write_text(path, render_comparison(names, compared, evaluations, notes))
    return path, compared, notes


def _gates(directory: RunDirectory) -> list[tuple[str, str]]:
    """Steps that say whether a model passes, and which of their outputs has the verdict."""
    return [(step, key) for step, key in _GATES if directory.has(step)]


def _notes(runs: tuple[RunDirectory, RunDirectory], evaluations: tuple[dict, dict]) -> list[str]:
    notes = []
    for title, run in zip("AB", runs, strict=True):
        found = [verdict.read(run.output(step, key)) for step, key in _gates(run)]
        refused = [f"{one.gate} ({one.why})" for one in found if not one.passed]
        if refused:
            notes.append(f"{title} was not pushed: refused by {', '.join(refused)}.")
    ranked = [found["candidates"] for found in evaluations]
    if ranked[0]["digest"] != ranked[1]["digest"]:
        counts = [f"{one['count']:,}" for one in ranked]
        notes.append(
            f"A ranked {counts[0]} items, B {counts[1]}, and not the same ones: the fewer, the higher the figures."
        )
    return notes


def _read(directory: str | Path, name: str) -> Any:
    return json.loads(Path(directory, name).read_text(encoding="utf-8"))


def _decides_cases(config: Config) -> dict[str, Any]:
    """What decides which events are held out, which items are ranked, and by what knowledge."""
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
