"""Builds and measures the index over the catalogue's vectors."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec

from tfx_pipeline import progress
from tfx_pipeline.artifacts import Towers, VectorIndex
from tfx_pipeline.components.dataset_inputs import DATASET_INPUTS, DatasetChannels, dataset_paths
from trainer import loading, retrieval
from trainer.config import Config
from trainer.index import builder
from trainer.index.queries import user_vectors

_MAX_QUERIES = 1_000  # held-out users to measure recall and latency on


class IndexBuilderExecutor(base_executor.BaseExecutor):
    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        config = Config.from_json(exec_properties["config"])
        dataset = loading.load(config, dataset_paths(input_dict), ("validation",))
        towers = retrieval.load(artifact_utils.get_single_uri(input_dict["towers"]), dataset.items, dataset.texts)
        vectors = user_vectors(config, towers, dataset.splits["validation"], limit=_MAX_QUERIES)
        directory = artifact_utils.get_single_uri(output_dict["index"])
        report = builder.build(config.index, towers.item_vectors().numpy(), vectors, directory)
        progress.summary(f"{report['kind']}: {report['reason']}")


class IndexBuilderSpec(component_spec.ComponentSpec):
    PARAMETERS = {"config": component_spec.ExecutionParameter(type=str)}
    INPUTS = {**DATASET_INPUTS, "towers": component_spec.ChannelParameter(type=Towers)}
    OUTPUTS = {"index": component_spec.ChannelParameter(type=VectorIndex)}


class IndexBuilder(base_component.BaseComponent):
    """Index over item vectors, measured with the vectors of held-out users.

    Args:
      dataset: the transformed dataset.
      towers: the retrieval model.
      config: the run's configuration.
    """

    SPEC_CLASS = IndexBuilderSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(IndexBuilderExecutor)

    def __init__(self, dataset: DatasetChannels, towers: types.BaseChannel, config: Config):
        super().__init__(
            IndexBuilderSpec(
                config=config.restricted("text", "model", "index").to_json(),
                **vars(dataset),
                towers=towers,
                index=types.Channel(type=VectorIndex),
            )
        )
