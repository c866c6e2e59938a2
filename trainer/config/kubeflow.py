"""Section `kubeflow`: where and with which resources the pipeline runs on Kubeflow."""

from __future__ import annotations

from pydantic import Field

from trainer.config.base import StrictModel


class StepResources(StrictModel):
    """Resources of one step of the pipeline."""

    cpu: float | None = Field(None, gt=0, description="number of CPU cores; null: the cluster's default")
    memory: str | None = Field(
        None,
        pattern=r"^\d+(\.\d+)?(K|M|G|T|Ki|Mi|Gi|Ti)$",
        description="memory, for example `16Gi`; null: the cluster's default",
    )
    accelerator: str | None = Field(
        None, description="type of accelerator, in the cluster's name, for example `nvidia.com/gpu`; null: none"
    )
    accelerator_count: int = Field(1, gt=0, description="number of accelerators")


class KubeflowConfig(StrictModel):
    """Where and with which resources the pipeline runs on Kubeflow."""

    image: str = Field("interest-towers:0.1.0", description="container image that runs the steps")
    pipeline_root: str = Field(
        "gs://YOUR-BUCKET/interest-towers", description="directory for the artifacts of all runs"
    )
    data_root: str = Field("/data", description="directory of the data inside the cluster, in place of `--data`")
    serving_directory: str | None = Field(
        None,
        description="directory to which model versions are pushed: `gs://...`, or a directory mounted into the "
        "pusher's step; by default `PIPELINE_ROOT/serving/MODEL_NAME`",
    )
    resources: dict[str, StepResources] = Field(
        default_factory=dict, description="resources by step id; `default` holds those of all other steps"
    )
