"""Compiles the pipeline to a Kubeflow Pipelines v2 spec."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import yaml
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner
from tfx.orchestration.pipeline import Pipeline

from tfx_pipeline.fingerprint import code_fingerprint
from tfx_pipeline.pipeline import PipelinePaths, RunnerSettings, create_pipeline
from tfx_pipeline.runners import kubeflow_step
from trainer.config import Config, KubeflowConfig, StepResources
from trainer.errors import UsageError
from trainer.files import write_text

_ResourceSpec = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec
_GIGABYTES = {
    "K": 1e-6,
    "M": 1e-3,
    "G": 1.0,
    "T": 1e3,
    "Ki": 2**10 / 1e9,
    "Mi": 2**20 / 1e9,
    "Gi": 2**30 / 1e9,
    "Ti": 2**40 / 1e9,
}


def compile_pipeline(config: Config, output: str | os.PathLike[str], beam_pipeline_args: list[str]) -> Path:
    """Writes the spec of the same pipeline that `towers run` runs.

    Image, pipeline root, data root and each step's CPU, memory and accelerator come from `config.kubeflow`. The input
    files are in the cluster and are not read here, so the keys of Kubeflow's cache depend on the configuration: give
    `data_root` another (dated) directory when the data changes. The keys also depend on the code, by its fingerprint.

    Args:
      config: the configuration.
      output: .yaml for Kubeflow Pipelines, .json for Vertex AI.
      beam_pipeline_args: options for all steps that run on Beam.

    Returns:
      The file that was written.

    Raises:
      UsageError: `config.kubeflow.resources` names a step that the pipeline does not have, models cannot be pushed to
        `serving_directory`, or `output` is neither .yaml nor .json.
    """
    output = Path(output).absolute()
    if output.suffix not in (".yaml", ".yml", ".json"):
        raise UsageError(f"`--out` should end in .yaml or .json. Received: {output.name!r}")
    root = config.kubeflow.pipeline_root.rstrip("/")
    pipeline = create_pipeline(
        config,
        PipelinePaths(
            pipeline_root=f"{root}/artifacts",
            data_root=config.kubeflow.data_root,
            # /tmp is lost when the step ends; `text.store` can name a lasting directory.
            text_store=_beside_data("text_store", config.kubeflow.data_root) or "/tmp/text_store",
            checkpoints=_checkpoints(config),
            serving_directory=_serving_directory(config),
        ),
        RunnerSettings(fingerprint=config.kubeflow.data_root, beam_pipeline_args=tuple(beam_pipeline_args)),
        can_resolve=False,  # Kubeflow Pipelines, unlike Vertex AI, has no resolver
    )
    _set_resources(pipeline, config.kubeflow)
    job = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        config=kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            display_name=config.name,
            default_image=config.kubeflow.image,
            default_commands=["python", "-m", kubeflow_step.__name__, "--code", code_fingerprint()],
            use_pipeline_spec_2_1=True,  # Kubeflow Pipelines 2 requires it; TFX defaults to 2.0
        )
    ).run(pipeline, write_out=False)
    spec = job["pipelineSpec"]
    spec["defaultPipelineRoot"] = pipeline.pipeline_info.pipeline_root  # TFX sets it for Vertex AI only
    if output.suffix == ".json":
        write_text(output, json.dumps(job, indent=2, sort_keys=True))
    else:
        write_text(output, yaml.safe_dump(spec))
    return output


def _serving_directory(config: Config) -> str:
    root = config.kubeflow.pipeline_root.rstrip("/")
    directory = config.kubeflow.serving_directory or f"{root}/serving/{config.serving.model_name}"
    # Kubeflow itself also writes to s3:// and minio://, but the model is pushed by TensorFlow, which cannot.
    if "://" in directory and not directory.startswith("gs://"):
        raise UsageError(
            "`kubeflow.serving_directory` (by default in `pipeline_root`) should begin with gs:// or be a directory "
            f"that is mounted in the pusher's container. Received: {directory!r}"
        )
    return directory


def _beside_data(name: str, data_root: str) -> str:
    """The path of `name` in the data's directory; "" if the data is in an object store."""
    return "" if "://" in data_root else f"{data_root.rstrip('/')}/{name}"


def _checkpoints(config: Config) -> str:
    """Directory for checkpoints: in the data's directory, or else in the pipeline root; not on the disk of a pod.

    It is "" (no checkpoints) if the data is in an object store, and the pipeline root in one that TensorFlow cannot
    write to.
    """
    root = config.kubeflow.pipeline_root.rstrip("/")
    below_root = f"{root}/checkpoints" if root.startswith("gs://") or "://" not in root else ""
    directory = _beside_data("checkpoints", config.kubeflow.data_root) or below_root
    return directory and f"{directory}/{config.name}"


def _set_resources(pipeline: Pipeline, kubeflow: KubeflowConfig) -> None:
    steps = {component.id: component for component in pipeline.components}
    unknown = sorted(set(kubeflow.resources) - set(steps) - {"default"})
    if unknown:
        raise UsageError(
            f"`kubeflow.resources` should name steps of the pipeline ({', '.join(steps)}) or 'default'. "
            f"Received: {unknown}"
        )
    for name, component in steps.items():
        resources = kubeflow.resources.get(name, kubeflow.resources.get("default"))
        if resources:
            component.with_platform_config(_resource_spec(resources))


def _resource_spec(resources: StepResources) -> Any:
    spec = _ResourceSpec()
    if resources.cpu:
        spec.cpu_limit = resources.cpu
    if resources.memory:
        number, unit = re.fullmatch(r"([\d.]+)(\w+)", resources.memory).groups()  # type: ignore[union-attr]
        spec.memory_limit = float(number) * _GIGABYTES[unit]
    if resources.accelerator:
        spec.accelerator.type = resources.accelerator
        spec.accelerator.count = resources.accelerator_count
    return spec
