"""Runs the steps of a TFX pipeline in this process, with ML Metadata in a file, and collects their outputs."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.orchestration.portable.mlmd import execution_lib

from tfx_pipeline.runs.run_directory import RunDirectory
from tfx_pipeline.runs.steps import Steps
from tfx_pipeline.terminal import failures
from tfx_pipeline.terminal.interruption import Interruption
from tfx_pipeline.terminal.screen import Screen
from trainer.errors import TowersError, first_line

_REMAINS = "finished steps are kept"


@dataclass
class Outputs:
    """Outputs of the steps of a run.

    Attributes:
      artifacts: step -> output -> artifacts.
      cached: steps whose outputs came from the cache.
    """

    artifacts: dict[str, dict[str, list[types.Artifact]]] = field(default_factory=dict)
    cached: list[str] = field(default_factory=list)

    def artifact(self, step: str, key: str) -> types.Artifact:
        (artifact,) = self.artifacts[step][key]
        return artifact

    def directory(self, step: str, key: str) -> str:
        return self.artifact(step, key).uri

    def directories(self) -> dict[str, dict[str, str]]:
        """Step -> output -> directory."""
        return {
            step: {key: artifacts[0].uri for key, artifacts in outputs.items() if artifacts}
            for step, outputs in self.artifacts.items()
        }


def launch(pipeline: Pipeline, directory: RunDirectory, screen: Screen, interruption: Interruption) -> Outputs:
    """Runs the steps of a pipeline one after another; a step whose inputs did not change is taken from the cache.

    Raises:
      TowersError: a step failed, or the run was interrupted.
    """
    compiled = _CompiledPipeline(pipeline)
    fail_unfinished_steps(directory, compiled.metadata_config)
    steps = Steps(len(compiled.nodes), directory, screen, interruption, _REMAINS)
    outputs = Outputs()
    for node in compiled.nodes:
        name = node.pipeline_node.node_info.id
        with steps.step(name) as line:
            try:
                execution_id = compiled.launch(node)
            except KeyboardInterrupt:
                fail_unfinished_steps(directory, compiled.metadata_config)
                raise
            is_cached, outputs.artifacts[name] = _recorded(compiled.metadata_config, execution_id)
            if is_cached:
                outputs.cached.append(name)
                line.summarise("unchanged, from the cache")
    return outputs


class _CompiledPipeline:
    """TFX's intermediate representation of a pipeline, and how to launch its nodes."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._ir = compiler.Compiler().compile(pipeline)
        run_id = datetime.datetime.now().isoformat()
        runtime_parameter_utils.substitute_runtime_parameter(
            self._ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
        )
        self._deployment = runner_utils.extract_local_deployment_config(self._ir)
        connection = self._deployment.metadata_connection_config
        self.metadata_config: metadata_store_pb2.ConnectionConfig = getattr(
            connection, connection.WhichOneof("connection_config")
        )
        self.nodes = self._ir.nodes

    def launch(self, node: Any) -> int:
        """Runs a node and returns the id of its execution in ML Metadata."""
        name = node.pipeline_node.node_info.id
        execution = launcher.Launcher(
            pipeline_node=node.pipeline_node,
            mlmd_connection=metadata.Metadata(self.metadata_config),
            pipeline_info=self._ir.pipeline_info,
            pipeline_runtime_spec=self._ir.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(self._deployment, name),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(self._deployment, name),
        ).launch()
        return execution.execution_id


def _recorded(
    config: metadata_store_pb2.ConnectionConfig, execution_id: int
) -> tuple[bool, dict[str, list[types.Artifact]]]:
    """Reads from ML Metadata whether an execution came from the cache, and its outputs.

    The launcher's return value does not suffice: its outputs lack the properties that the executor set and, for a
    cached execution, their directories.
    """
    with metadata.Metadata(config) as handle:
        (execution,) = handle.store.get_executions_by_id([execution_id])
        outputs = execution_lib.get_output_artifacts(handle, execution_id)
    return execution.last_known_state == metadata_store_pb2.Execution.CACHED, outputs


def fail_unfinished_steps(directory: RunDirectory, config: metadata_store_pb2.ConnectionConfig) -> None:
    """Marks the unfinished steps of a stopped or killed run as failed and removes their output directories.

    Raises:
      TowersError: the file of ML Metadata cannot be used.
    """
    try:
        with metadata.Metadata(config) as handle:
            unfinished = [e for e in handle.store.get_executions() if execution_lib.is_execution_active(e)]
            for execution in unfinished:
                for path in _output_directories(directory, execution.id):
                    shutil.rmtree(path, ignore_errors=True)
                execution.last_known_state = metadata_store_pb2.Execution.FAILED
            if unfinished:
                handle.store.put_executions(unfinished)
    except Exception as error:
        if full := failures.full_disk_message([error]):
            raise TowersError(
                f"{directory.metadata}: cannot be written ({full}). Make room, then try again."
            ) from error
        raise TowersError(
            f"{directory.metadata}: cannot be used as ML Metadata's file ({first_line(error)}). Restore it, "
            "or give --out another directory."
        ) from error


def _output_directories(directory: RunDirectory, execution_id: int) -> Iterator[Path]:
    """The output directories of an execution, `<step>/<output>/<id>`, and `<id>.incomplete-...` beside them."""
    for path in directory.artifacts.glob(f"*/*/{execution_id}*"):
        if path.name.split(".")[0] == str(execution_id):
            yield path
