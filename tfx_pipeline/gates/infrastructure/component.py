"""Loads the export in the very server that will serve it and has its warm-up requests answered."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from serving.export import warm_up_calls
from serving.server.process import ServerProcess
from serving.wire.errors import ServerError
from tfx_pipeline.gates import verdict
from tfx_pipeline.gates.verdict import Check, Verdict
from tfx_pipeline.terminal import progress
from trainer.errors import TowersError

GATE = "infra"
_BLESSED = "blessed"  # custom property that TFX's Pusher looks at
_MEASURED = ("retrieve", "rank", "recommend")
_LOAD_SECONDS = 600.0  # a large index and its warm-up, on a machine that does other things too


@dataclass(frozen=True)
class Validated:
    """What the server did.

    Attributes:
      answered: warm-up requests.
      latency: signature -> `requests`, `p50_ms`, `p95_ms`, `p99_ms` of its smallest requests, one after another.
    """

    answered: int
    latency: dict[str, dict[str, float]]


def validate(model: str) -> Validated:
    """Loads a SavedModel in the embedded server, sends it its warm-up requests, and measures how long answers take.

    Raises:
      TowersError: one was not, or there are none.
      ServerError: it could not be loaded.
    """
    with tempfile.TemporaryDirectory(prefix="infra-validator-") as base_path:
        os.symlink(os.path.abspath(model), os.path.join(base_path, "1"))
        # The server replays the warm-up records before it is ready; here they are sent again, over the wire.
        with ServerProcess(base_path, model_name="candidate", timeout=_LOAD_SECONDS) as server:
            answered = warm_up_calls.send_requests(model, server.address, model_name="candidate")
            if not answered:
                raise TowersError(f"{model}: holds no warm-up requests, so nothing was validated. Export it again.")
            latency = warm_up_calls.measure_latency(model, server.address, model_name="candidate", signatures=_MEASURED)
    return Validated(answered, latency)


class EmbeddedInfraValidatorExecutor(base_executor.BaseExecutor):
    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        model = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"]))
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        found = _judged(model)
        verdict.write(blessing.uri, found)
        blessing.set_int_custom_property(_BLESSED, int(found.passed))
        name = "INFRA_BLESSED" if found.passed else "INFRA_NOT_BLESSED"
        with open(os.path.join(blessing.uri, name), "w", encoding="utf-8") as file:
            file.write("")
        progress.summary(found.line())


def _judged(model: str) -> Verdict:
    try:
        found = validate(model)
    except (TowersError, ServerError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"  # between them is the server's log
        return Verdict(GATE, (Check("loads and answers", False, reason.rstrip(".")),))
    one = found.latency["recommend"]
    said = f"loaded in the embedded server, {found.answered} warm-up requests answered"
    said += f"; recommend p50 {one['p50_ms']:.1f} ms, p99 {one['p99_ms']:.1f} ms"
    return Verdict(GATE, (Check("loads and answers", True, said),), measured={"latency": found.latency})


class EmbeddedInfraValidatorSpec(component_spec.ComponentSpec):
    PARAMETERS: dict = {}
    INPUTS = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing)}


class EmbeddedInfraValidator(base_component.BaseComponent):
    """InfraValidator without Docker: TFX's own starts a container of stock TensorFlow Serving, which has no ScaNN.

    Args:
      model: the export.
    """

    SPEC_CLASS = EmbeddedInfraValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(EmbeddedInfraValidatorExecutor)

    def __init__(self, model: types.BaseChannel):
        super().__init__(
            EmbeddedInfraValidatorSpec(model=model, blessing=types.Channel(type=standard_artifacts.InfraBlessing))
        )
