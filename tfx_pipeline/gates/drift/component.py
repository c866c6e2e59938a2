"""The drift gate: compares this run's data with that of the last blessed run."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, component_spec, standard_artifacts

from tfx_pipeline.artifacts import GateVerdict
from tfx_pipeline.components.tables import TABLES
from tfx_pipeline.gates import verdict
from tfx_pipeline.gates.drift import judgement, reference_statistics
from tfx_pipeline.gates.verdict import Check, Verdict
from tfx_pipeline.terminal import progress
from trainer.config import Config

# Notes of a verdict without checks.
NONE_YET = "no earlier blessed run to compare with"
NOT_ASKED = "not compared with the last blessed run, which this runner cannot look up"


class DriftGateExecutor(base_executor.BaseExecutor):
    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        config = Config.from_json(exec_properties["config"])
        result = _judge(config, input_dict, exec_properties["if_none"])
        verdict.write(artifact_utils.get_single_uri(output_dict["verdict"]), result)
        progress.summary(result.line())


def _judge(config: Config, input_dict: dict[str, list[types.Artifact]], if_none: str) -> Verdict:
    if config.gates.drift is None:
        return Verdict(judgement.GATE, note="switched off (gates.drift)")
    if not input_dict.get("last_blessing"):
        return Verdict(judgement.GATE, note=if_none)
    blessing = artifact_utils.get_single_uri(input_dict["last_blessing"])
    if not fileio.exists(blessing):
        reason = (
            f"statistics of the last blessed run are missing ({blessing}): put them back, or set gates.drift to null"
        )
        return Verdict(judgement.GATE, (Check("drift", False, reason),))
    tables = {
        name: (
            table.load_statistics(input_dict[f"{name}_statistics"]),
            reference_statistics.read(blessing, name),
            table.features(config.data),
        )
        for name, table in TABLES.items()
    }
    return judgement.judge(tables, config.gates.drift)


class DriftGateSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "config": component_spec.ExecutionParameter(type=str),
        "if_none": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "sequences_statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "items_statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "last_blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing, optional=True),
    }
    OUTPUTS = {"verdict": component_spec.ChannelParameter(type=GateVerdict)}


class DriftGate(base_component.BaseComponent):
    """Compares statistics of the train split and of the catalogue with those of the last blessed run.

    Args:
      statistics: table -> output of its StatisticsGen.
      last_blessing: blessing of the model that was blessed last; None if the runner cannot look it up.
      config: the run's configuration.
    """

    SPEC_CLASS = DriftGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(DriftGateExecutor)

    def __init__(
        self, statistics: dict[str, types.BaseChannel], last_blessing: types.BaseChannel | None, config: Config
    ):
        super().__init__(
            DriftGateSpec(
                config=config.restricted("evaluation", "gates").to_json(),
                if_none=NONE_YET if last_blessing is not None else NOT_ASKED,
                **{f"{table}_statistics": channel for table, channel in statistics.items()},
                last_blessing=last_blessing,
                verdict=types.Channel(type=GateVerdict),
            )
        )
