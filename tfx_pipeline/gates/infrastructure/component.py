"""The infrastructure gate: an InfraValidator that tests the export in the embedded server."""

from __future__ import annotations

import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from tfx_pipeline.gates import verdict
from tfx_pipeline.gates.infrastructure import judgement
from tfx_pipeline.terminal import progress

_BLESSED = "blessed"  # custom property that TFX's Pusher reads


class EmbeddedInfraValidatorExecutor(base_executor.BaseExecutor):
    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        model = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"]))
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        result = judgement.judge(model)
        verdict.write(blessing.uri, result)
        blessing.set_int_custom_property(_BLESSED, int(result.passed))
        name = "INFRA_BLESSED" if result.passed else "INFRA_NOT_BLESSED"
        with open(os.path.join(blessing.uri, name), "w", encoding="utf-8") as file:
            file.write("")
        progress.summary(result.line())


class EmbeddedInfraValidatorSpec(component_spec.ComponentSpec):
    PARAMETERS: dict = {}
    INPUTS = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing)}


class EmbeddedInfraValidator(base_component.BaseComponent):
    """An InfraValidator without Docker.

    TFX's InfraValidator starts a container with stock TensorFlow Serving, which has no ScaNN ops.

    Args:
      model: the export.
    """

    SPEC_CLASS = EmbeddedInfraValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(EmbeddedInfraValidatorExecutor)

    def __init__(self, model: types.BaseChannel):
        super().__init__(
            EmbeddedInfraValidatorSpec(model=model, blessing=types.Channel(type=standard_artifacts.InfraBlessing))
        )
