"""Runs a pipeline on this machine and publishes its results in the run's directory."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from tfx_pipeline.fingerprint import fingerprint, schema_fingerprint
from tfx_pipeline.gates import verdict
from tfx_pipeline.pipeline import PipelinePaths, RunnerSettings, create_pipeline, create_tuning_pipeline
from tfx_pipeline.runners.launching import Outputs, launch
from tfx_pipeline.runs.reporting import write_report
from tfx_pipeline.runs.run_directory import RunDirectory
from tfx_pipeline.terminal.interruption import Interruption
from tfx_pipeline.terminal.screen import Screen
from trainer.config import Config
from trainer.errors import TowersError
from trainer.evaluation import document
from trainer.files import write_text


@dataclass(frozen=True)
class RunResult:
    """The result of a finished run.

    Attributes:
      evaluation: content of report/evaluation.json.
      model: directory of the pushed version.
      seconds: wall time.
      cached: steps whose outputs came from the cache.
    """

    evaluation: dict
    model: str
    seconds: float
    cached: tuple[str, ...]


def run(
    config: Config,
    data_root: str,
    directory: RunDirectory,
    beam_pipeline_args: list[str],
    screen: Screen,
    command: str = "",
) -> RunResult:
    """Runs the pipeline. Steps whose inputs did not change come from the cache, so an interrupted run is continued.

    Args:
      config: the configuration.
      data_root: directory that relative paths in the configuration start from.
      directory: the run's directory.
      beam_pipeline_args: options of Beam.
      screen: shows the steps.
      command: the command line, for the report.

    Raises:
      TowersError: a step failed, or the model was not pushed. The message says why and what to do.
    """
    start = time.monotonic()
    with directory.opened(config), Interruption() as interruption:
        settings = _settings(config, data_root, directory, beam_pipeline_args)
        pipeline = create_pipeline(config, _paths(config, data_root, directory), settings)
        outputs = launch(pipeline, directory, screen, interruption)
        evaluation = _publish(directory, outputs, command)
        # What is left are checkpoints of interrupted trainings whose inputs have changed: they are never continued.
        shutil.rmtree(directory.checkpoints, ignore_errors=True)
    pushed_model = outputs.artifact("AtomicPusher", "pushed_model")
    if not pushed_model.get_int_custom_property("pushed"):
        reasons = "; ".join(verdict.read(outputs.directory("ModelBlesser", "blessing")).refusals)
        raise TowersError(
            f"the model was not pushed: {reasons}. Servers keep the version they have; see {directory.report}, and "
            "`gates` of the configuration."
        )
    return RunResult(
        evaluation=evaluation,
        model=pushed_model.get_string_custom_property("pushed_destination"),
        seconds=time.monotonic() - start,
        cached=tuple(outputs.cached),
    )


def tune(
    config: Config, data_root: str, directory: RunDirectory, beam_pipeline_args: list[str], screen: Screen
) -> Path:
    """Searches hyperparameters. `run` and `tune` in the same directory use each other's cached data.

    Args: as for `run`.

    Returns:
      The directory of the result: see `RetrievalTuner`.

    Raises:
      TowersError: a step failed; the message names it, its log and what to do.
    """
    with directory.opened(config), Interruption() as interruption:
        settings = _settings(config, data_root, directory, beam_pipeline_args)
        paths = _paths(config, data_root, directory)
        pipeline = create_tuning_pipeline(config, paths, settings, trials_directory=str(directory.tuning))
        outputs = launch(pipeline, directory, screen, interruption)
    return Path(outputs.directory("RetrievalTuner", "best_hyperparameters"))


def _paths(config: Config, data_root: str, directory: RunDirectory) -> PipelinePaths:
    return PipelinePaths(
        pipeline_root=str(directory.artifacts),
        data_root=os.path.abspath(data_root),
        text_store=str(directory.text_store),
        checkpoints=str(directory.checkpoints),
        serving_directory=str(directory.serving(config.serving.model_name)),
    )


def _settings(config: Config, data_root: str, directory: RunDirectory, beam_pipeline_args: list[str]) -> RunnerSettings:
    return RunnerSettings(
        fingerprint=fingerprint(config.data, data_root),
        schema_fingerprint=schema_fingerprint(config.data),
        metadata_path=str(directory.metadata),
        beam_pipeline_args=tuple(beam_pipeline_args),
    )


def _publish(directory: RunDirectory, outputs: Outputs, command: str) -> dict:
    """Records the outputs, copies schema, counts and evaluation to fixed places and writes the report.

    Returns:
      The evaluation.
    """
    evaluation = document.read(outputs.directory("Evaluator", "evaluation"))
    write_text(directory.report / document.FILE, json.dumps(evaluation, indent=2, ensure_ascii=False))
    _copy_text(Path(outputs.directory("Ingest", "quarantine"), "counts.json"), directory.report / "data.json")
    directory.record_outputs(outputs.directories(), command)
    for table in ("sequences", "items"):
        schema = Path(outputs.directory(f"{table.capitalize()}Schema", "schema"), "schema.pbtxt")
        _copy_text(schema, directory.schema / f"{table}.pbtxt")
    write_report(directory)
    return evaluation


def _copy_text(source: Path, target: Path) -> None:
    write_text(target, source.read_text(encoding="utf-8"))
