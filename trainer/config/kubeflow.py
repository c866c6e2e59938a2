"""Section `kubeflow`: where and with what resources the pipeline runs on Kubeflow."""

from __future__ import annotations

from pydantic import Field

from trainer.config.base import StrictModel


class StepResources(StrictModel):
    cpu: float | None = Field(None, gt=0)
    memory: str | None = Field(None, pattern=r"^\d+(\.\d+)?(K|M|G|T|Ki|Mi|Gi|Ti)$")
    accelerator: str | None = None
    accelerator_count: int = Field(1, gt=0)


class KubeflowConfig(StrictModel):
    image: str = "interest-towers:0.1.0"
    pipeline_root: str = "gs://YOUR-BUCKET/interest-towers"
    data_root: str = Field("/data", description="what --data is inside the cluster")
    serving_directory: str | None = Field(
        None,
        description="where versions are pushed: gs://, or a directory mounted into the pusher's step; default: "
        "PIPELINE_ROOT/serving/MODEL_NAME",
    )
    resources: dict[str, StepResources] = Field(default_factory=dict, description="step id, or 'default', -> resources")
