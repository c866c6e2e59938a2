"""The index gate: the index should reach its recall target and keep to the latency limit."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec

from tfx_pipeline.artifacts import GateVerdict, VectorIndex
from tfx_pipeline.gates import verdict
from tfx_pipeline.gates.index import judgement
from tfx_pipeline.terminal import progress
from trainer.config import Config
from trainer.index.persistence import read_description


class IndexGateExecutor(base_executor.BaseExecutor):
    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        gates = Config.from_json(exec_properties["config"]).gates
        report = read_description(artifact_utils.get_single_uri(input_dict["index"]))["report"]
        result = judgement.judge(report, gates.index_p99_milliseconds)
        verdict.write(artifact_utils.get_single_uri(output_dict["verdict"]), result)
        progress.summary(result.line())


class IndexGateSpec(component_spec.ComponentSpec):
    PARAMETERS = {"config": component_spec.ExecutionParameter(type=str)}
    INPUTS = {"index": component_spec.ChannelParameter(type=VectorIndex)}
    OUTPUTS = {"verdict": component_spec.ChannelParameter(type=GateVerdict)}


class IndexGate(base_component.BaseComponent):
    """Compares the IndexBuilder's measurements with `index.recall_target` and `gates.index_p99_milliseconds`.

    Args:
      index: output of the IndexBuilder.
      config: the run's configuration.
    """

    SPEC_CLASS = IndexGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(IndexGateExecutor)

    def __init__(self, index: types.BaseChannel, config: Config):
        super().__init__(
            IndexGateSpec(
                config=config.restricted("evaluation", "gates").to_json(),
                index=index,
                verdict=types.Channel(type=GateVerdict),
            )
        )
