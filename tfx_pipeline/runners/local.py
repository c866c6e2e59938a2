"""Runs the pipeline in this process, step by step, with ML Metadata in SQLite."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.orchestration.portable.mlmd import execution_lib

from tfx_pipeline.fingerprint import fingerprint, schema_fingerprint
from tfx_pipeline.gates import verdict
from tfx_pipeline.pipeline import PipelinePaths, create_pipeline, create_tuning_pipeline
from tfx_pipeline.runs.reporting import write_report
from tfx_pipeline.runs.run_directory import RunDirectory
from tfx_pipeline.terminal import failures
from tfx_pipeline.terminal.interruption import Interruption
from tfx_pipeline.terminal.screen import Screen, captured
from trainer.config import Config
from trainer.errors import TowersError, first_line
from trainer.evaluation import document
from trainer.files import write_text

_KEPT = "finished steps are kept"


@dataclass(frozen=True)
class RunResult:
    """What a finished run left.

    Attributes:
      evaluation: content of report/evaluation.json.
      model: the pushed version's directory.
      seconds: wall time.
      cached: steps whose result came from the cache.
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
    """Runs the pipeline; steps whose inputs did not change come from the cache, so an interrupted run goes on.

    Args:
      config: the configuration.
      data_root: what relative paths in it are relative to.
      directory: where everything goes.
      beam_pipeline_args: options of Beam.
      screen: where steps are shown.
      command: what was typed, for the report.

    Raises:
      TowersError: a step failed; the message names it, its log and what to do.
    """
    start = time.monotonic()
    with directory.opened(config), Interruption() as interruption:
        pipeline = create_pipeline(
            config, _paths(config, data_root, directory), **_inputs(config, data_root, directory, beam_pipeline_args)
        )
        outputs, cached = _launch(pipeline, directory, screen, interruption)
        evaluation = _publish(directory, outputs, command)
        # Of trainings that were stopped and never taken up again, because something was changed.
        shutil.rmtree(directory.checkpoints, ignore_errors=True)
    (pushed,) = outputs["AtomicPusher"]["pushed_model"]
    if not pushed.get_int_custom_property("pushed"):
        why = "; ".join(verdict.read(_uri(outputs, "ModelBlesser", "blessing")).refusals)
        raise TowersError(
            f"the model was not pushed: {why}. What is served stays as it was; see {directory.report}, and "
            "`gates` of the configuration."
        )
    return RunResult(
        evaluation, pushed.get_string_custom_property("pushed_destination"), time.monotonic() - start, tuple(cached)
    )


def tune(
    config: Config, data_root: str, directory: RunDirectory, beam_pipeline_args: list[str], screen: Screen
) -> Path:
    """Searches hyperparameters; what `run` has prepared in the same directory, and it of this, comes from the cache.

    Args: as for `run`.

    Returns:
      The directory of the result: see `RetrievalTuner`.

    Raises:
      TowersError: a step failed; the message names it, its log and what to do.
    """
    with directory.opened(config), Interruption() as interruption:
        pipeline = create_tuning_pipeline(
            config,
            _paths(config, data_root, directory),
            trials_directory=str(directory.tuning),
            **_inputs(config, data_root, directory, beam_pipeline_args),
        )
        outputs, _ = _launch(pipeline, directory, screen, interruption)
    return Path(_uri(outputs, "RetrievalTuner", "best_hyperparameters"))


def _launch(
    pipeline: Pipeline, directory: RunDirectory, screen: Screen, interruption: Interruption
) -> tuple[dict[str, dict], list[str]]:
    """Runs the steps one after another.

    Returns:
      (step -> key -> artifacts, the steps that came from the cache).

    Raises:
      TowersError: a step failed, or the run was stopped.
    """
    ir = compiler.Compiler().compile(pipeline)
    runtime_parameter_utils.substitute_runtime_parameter(
        ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: datetime.datetime.now().isoformat()}
    )
    deployment = runner_utils.extract_local_deployment_config(ir)
    connection = deployment.metadata_connection_config
    metadata_config = getattr(connection, connection.WhichOneof("connection_config"))
    _clear_unfinished(directory, metadata_config)
    outputs: dict[str, dict] = {}
    cached = []
    for number, node in enumerate(ir.nodes, 1):
        step = node.pipeline_node.node_info.id
        log = directory.log(step)
        with screen.step(number, len(ir.nodes), step, interruption.check) as line:
            try:
                with captured(str(log)):
                    execution = launcher.Launcher(
                        pipeline_node=node.pipeline_node,
                        mlmd_connection=metadata.Metadata(metadata_config),
                        pipeline_info=ir.pipeline_info,
                        pipeline_runtime_spec=ir.runtime_spec,
                        executor_spec=runner_utils.extract_executor_spec(deployment, step),
                        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, step),
                    ).launch()
                interruption.check()
            except KeyboardInterrupt:
                _clear_unfinished(directory, metadata_config)
                raise TowersError(
                    f"stopped during {step}. The same command goes on from there; finished steps are kept."
                ) from None
            except Exception as error:
                raise failures.explained(step, str(log), error, _KEPT) from error
            is_cached, outputs[step] = _recorded(metadata_config, execution.execution_id)
            if is_cached:
                cached.append(step)
                line.summarise("unchanged, from the cache")
    return outputs, cached


def _paths(config: Config, data_root: str, directory: RunDirectory) -> PipelinePaths:
    return PipelinePaths(
        pipeline_root=str(directory.artifacts),
        data_root=os.path.abspath(data_root),
        text_store=str(directory.text_store),
        checkpoints=str(directory.checkpoints),
        serving_directory=str(directory.serving(config.serving.model_name)),
    )


def _inputs(config: Config, data_root: str, directory: RunDirectory, beam_pipeline_args: list[str]) -> dict[str, Any]:
    """What every pipeline is told besides its configuration and paths."""
    return {
        "fingerprint": fingerprint(config.data, data_root),
        "schema_fingerprint": schema_fingerprint(config.data),
        "metadata_path": str(directory.metadata),
        "beam_pipeline_args": beam_pipeline_args,
    }


def _recorded(config: metadata_store_pb2.ConnectionConfig, execution_id: int) -> tuple[bool, dict[str, list]]:
    """Whether an execution came from the cache, and its outputs.

    The launcher's own answer has neither what the executor noted on its outputs nor, from the cache, where they lie.
    """
    with metadata.Metadata(config) as handle:
        (record,) = handle.store.get_executions_by_id([execution_id])
        outputs = execution_lib.get_output_artifacts(handle, execution_id)
    return record.last_known_state == metadata_store_pb2.Execution.CACHED, outputs


def _clear_unfinished(directory: RunDirectory, config: metadata_store_pb2.ConnectionConfig) -> None:
    """Removes what steps of a stopped or killed run had written, which nothing would ever read, and notes them failed.

    Raises:
      TowersError: ML Metadata's file cannot be used.
    """
    try:
        with metadata.Metadata(config) as handle:
            unfinished = [e for e in handle.store.get_executions() if execution_lib.is_execution_active(e)]
            for execution in unfinished:
                for path in directory.artifacts.glob(f"*/*/{execution.id}*"):  # `<id>.incomplete-...` beside `<id>`
                    if path.name.split(".")[0] == str(execution.id):
                        shutil.rmtree(path, ignore_errors=True)
                execution.last_known_state = metadata_store_pb2.Execution.FAILED
            if unfinished:
                handle.store.put_executions(unfinished)
    except Exception as error:
        if full := failures.full_disk([error]):
            raise TowersError(
                f"{directory.metadata}: cannot be written ({full}). Make room, then try again."
            ) from error
        raise TowersError(
            f"{directory.metadata}: cannot be used as ML Metadata's file ({first_line(error)}). Restore it, "
            "or give --out another directory."
        ) from error


def _publish(directory: RunDirectory, outputs: dict[str, dict], command: str) -> dict:
    """Puts what people look for where they look for it: report/ and schema/."""
    evaluation = document.read(_uri(outputs, "Evaluator", "evaluation"))
    write_text(directory.report / document.FILE, json.dumps(evaluation, indent=2, ensure_ascii=False))
    counts = os.path.join(_uri(outputs, "Ingest", "quarantine"), "counts.json")
    with open(counts, encoding="utf-8") as file:
        write_text(directory.report / "data.json", file.read())
    directory.record_outputs(
        {
            step: {key: artifacts[0].uri for key, artifacts in found.items() if artifacts}
            for step, found in outputs.items()
        },
        command,
    )
    for table in ("sequences", "items"):
        source = os.path.join(_uri(outputs, f"{table.capitalize()}Schema", "schema"), "schema.pbtxt")
        with open(source, encoding="utf-8") as file:
            write_text(directory.schema / f"{table}.pbtxt", file.read())
    write_report(directory)
    return evaluation


def _uri(outputs: dict[str, dict], step: str, key: str) -> str:
    (artifact,) = outputs[step][key]
    return artifact.uri
