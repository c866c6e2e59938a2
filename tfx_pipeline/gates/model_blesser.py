"""Combines the verdicts of all gates into the blessing that the Pusher requires."""

from __future__ import annotations

import os
from typing import Any

from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, component_spec, standard_artifacts

from tfx_pipeline.artifacts import GateVerdict
from tfx_pipeline.components.tables import TABLES
from tfx_pipeline.gates import verdict
from tfx_pipeline.gates.drift import reference_statistics
from tfx_pipeline.gates.verdict import Check, Verdict
from tfx_pipeline.terminal import progress

GATES = ("quality", "index", "skew", "drift")
_INFRA = "infra"


class ModelBlesserExecutor(base_executor.BaseExecutor):
    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        gates = [verdict.read(artifact_utils.get_single_uri(input_dict[gate])) for gate in (*GATES, _INFRA)]
        result = combine(gates)
        verdict.write(blessing.uri, result)
        for name, table in TABLES.items():
            reference_statistics.write(blessing.uri, name, table.load_statistics(input_dict[f"{name}_statistics"]))
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(result.passed))
        blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
        with fileio.open(os.path.join(blessing.uri, "BLESSED" if result.passed else "NOT_BLESSED"), "w") as file:
            file.write("")
        if result.passed:
            passed = f"passed {', '.join(gate.gate for gate in gates)}"
            progress.summary("; ".join([passed, result.note]) if result.note else passed)
        else:
            progress.summary(result.line())


def combine(gates: list[Verdict]) -> Verdict:
    """One verdict with a check for each gate and the gates' notes."""
    checks = tuple(Check(gate.gate, gate.passed, f"{gate.gate}: {gate.why}") for gate in gates)
    notes = [f"{gate.gate}: {gate.note}" for gate in gates if gate.note]
    return Verdict("all", checks, "; ".join(notes))


class ModelBlesserSpec(component_spec.ComponentSpec):
    PARAMETERS: dict = {}
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        **{gate: component_spec.ChannelParameter(type=GateVerdict) for gate in GATES},
        _INFRA: component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        **{
            f"{table}_statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics)
            for table in TABLES
        },
    }
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing)}


class ModelBlesser(base_component.BaseComponent):
    """Blesses a model that passed all gates. The blessing has the form of TFX's Evaluator.

    The statistics of the run's data are stored with it, as the reference for the drift gates of later runs.

    Args:
      model: the export.
      verdicts: gate -> its verdict, for each of GATES.
      infra_blessing: output of the EmbeddedInfraValidator.
      statistics: table -> output of its StatisticsGen.
    """

    SPEC_CLASS = ModelBlesserSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(ModelBlesserExecutor)

    def __init__(
        self,
        model: types.BaseChannel,
        verdicts: dict[str, types.BaseChannel],
        infra_blessing: types.BaseChannel,
        statistics: dict[str, types.BaseChannel],
    ):
        super().__init__(
            ModelBlesserSpec(
                model=model,
                **verdicts,
                infra=infra_blessing,
                **{f"{table}_statistics": channel for table, channel in statistics.items()},
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
