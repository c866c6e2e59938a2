"""Builds the index of item vectors and measures it."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec

from tfx_pipeline.artifacts import Towers, VectorIndex
from tfx_pipeline.components.dataset_step import DATASET_INPUTS, DatasetChannels, DatasetExecutor, Step
from tfx_pipeline.terminal import progress
from trainer.config import Config
from trainer.index import builder
from trainer.index.queries import user_vectors


class IndexBuilderExecutor(DatasetExecutor):
    def run(self, step: Step) -> None:
        dataset = step.load_dataset("validation")
        towers = step.load_towers(dataset)
        queries = user_vectors(step.config, towers, dataset.splits["validation"])
        report = builder.build(step.config.index, towers.item_vectors().numpy(), queries, step.outputs["index"])
        progress.summary(builder.describe(report))


class IndexBuilderSpec(component_spec.ComponentSpec):
    PARAMETERS = {"config": component_spec.ExecutionParameter(type=str)}
    INPUTS = {**DATASET_INPUTS, "towers": component_spec.ChannelParameter(type=Towers)}
    OUTPUTS = {"index": component_spec.ChannelParameter(type=VectorIndex)}


class IndexBuilder(base_component.BaseComponent):
    """Builds an index of item vectors; the vectors of held-out users measure its recall and latency.

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
