"""Trains the two-tower retrieval model. The training itself is trainer.retrieval; it runs outside TFX just as well."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec

from tfx_pipeline import progress
from tfx_pipeline.artifacts import Towers
from tfx_pipeline.components.dataset_inputs import DATASET_INPUTS, DatasetChannels, dataset_paths
from trainer import loading, retrieval
from trainer.config import Config


class RetrievalTrainerExecutor(base_executor.BaseExecutor):
    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        config = Config.from_json(exec_properties["config"])
        dataset = loading.load(config, dataset_paths(input_dict), ("train", "validation"))
        result = retrieval.train(
            config,
            dataset.items,
            dataset.train,
            dataset.splits["validation"],
            dataset.texts,
            artifact_utils.get_single_uri(output_dict["towers"]),
            on_epoch=progress.epoch,
        )
        progress.summary(
            f"validation NDCG@10 {result['ndcg@10']:.4f} at epoch {result['best_epoch']}, "
            f"{result['parameters'] / 1e6:.1f} M parameters"
        )


class RetrievalTrainerSpec(component_spec.ComponentSpec):
    PARAMETERS = {"config": component_spec.ExecutionParameter(type=str)}
    INPUTS = DATASET_INPUTS
    OUTPUTS = {"towers": component_spec.ChannelParameter(type=Towers)}


class RetrievalTrainer(base_component.BaseComponent):
    """Trainer of the retrieval model.

    Args:
      dataset: the transformed dataset.
      config: the run's configuration.
    """

    SPEC_CLASS = RetrievalTrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(RetrievalTrainerExecutor)

    def __init__(self, dataset: DatasetChannels, config: Config):
        sections = ("text", "model", "retrieval", "evaluation")
        super().__init__(
            RetrievalTrainerSpec(
                config=config.restricted(*sections).to_json(), **vars(dataset), towers=types.Channel(type=Towers)
            )
        )
