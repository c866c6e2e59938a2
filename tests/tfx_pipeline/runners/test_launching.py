"""Launching a pipeline of one small step: its outputs, the cache, failures and interrupted steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.types import artifact_utils, component_spec

from tfx_pipeline.artifacts import GateVerdict
from tfx_pipeline.runners.launching import Outputs, launch
from tfx_pipeline.runs.run_directory import RunDirectory
from tfx_pipeline.terminal.interruption import Interruption
from tfx_pipeline.terminal.screen import Screen
from trainer.errors import TowersError


class WriteExecutor(base_executor.BaseExecutor):
    """Writes its text to a file, or raises the error of that name afterwards."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        text = exec_properties["text"]
        artifact = artifact_utils.get_single_instance(output_dict["written"])
        Path(artifact.uri, "text").write_text(text)
        artifact.set_int_custom_property("length", len(text))
        errors = {"KeyboardInterrupt": KeyboardInterrupt(), "TowersError": TowersError("no room for it.")}
        if text in errors:
            raise errors[text]


class WriteSpec(component_spec.ComponentSpec):
    PARAMETERS = {"text": component_spec.ExecutionParameter(type=str)}
    INPUTS: dict = {}
    OUTPUTS = {"written": component_spec.ChannelParameter(type=GateVerdict)}


class Write(base_component.BaseComponent):
    SPEC_CLASS = WriteSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(WriteExecutor)

    def __init__(self, text: str):
        super().__init__(WriteSpec(text=text, written=types.Channel(type=GateVerdict)))


def run(directory: RunDirectory, text: str) -> Outputs:
    directory.path.mkdir(exist_ok=True)
    pipeline = Pipeline(
        pipeline_name="small",
        pipeline_root=str(directory.artifacts),
        components=[Write(text)],
        enable_cache=True,
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(directory.metadata)),
    )
    with Interruption() as interruption:
        return launch(pipeline, directory, Screen(), interruption)


def test_outputs_come_from_the_step_and_then_from_the_cache(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    first, second = run(directory, "hello"), run(directory, "hello")
    assert (first.cached, second.cached) == ([], ["Write"])
    assert first.directories() == second.directories()
    for outputs in (first, second):
        assert Path(outputs.directory("Write", "written"), "text").read_text() == "hello"
        assert outputs.artifact("Write", "written").get_int_custom_property("length") == 5
    assert run(directory, "other").cached == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("KeyboardInterrupt", r"stopped during Write\. Run the same command again: finished steps are kept\."),
        ("TowersError", r"step Write failed: no room for it\. Log: .*Write\.log\. .*finished steps are kept\."),
    ],
)
def test_a_step_that_does_not_finish_leaves_no_output(tmp_path: Path, error: str, message: str) -> None:
    directory = RunDirectory(tmp_path / "run")
    with pytest.raises(TowersError, match=message):
        run(directory, error)
    assert list(directory.artifacts.rglob("text")) == []
    assert run(directory, "hello").cached == []
