"""Exports the run's models as one SavedModel, the one that is served."""

from __future__ import annotations

import os

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.utils import path_utils

from serving.export import exporter
from serving.export.metadata import summary
from tfx_pipeline.artifacts import Ranker, Towers, VectorIndex
from tfx_pipeline.components.dataset_step import DATASET_INPUTS, DatasetChannels, DatasetExecutor, Step
from tfx_pipeline.terminal import progress
from trainer.config import Config
from trainer.ranking import persistence as ranking_persistence


class ExporterExecutor(DatasetExecutor):
    def run(self, step: Step) -> None:
        dataset = step.load_dataset()
        directory = path_utils.serving_model_dir(step.outputs["model"])
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        report = exporter.export(
            step.config,
            step.load_towers(dataset),
            ranking_persistence.load(step.inputs["ranker"]) if step.ranking_is_served() else None,
            index_directory=step.inputs["index"],
            dataset=dataset,
            sequence_transform=step.inputs["sequence_transform"],
            item_transform=step.inputs["item_transform"],
            ingested_items=step.inputs["ingested_items"],
            directory=directory,
        )
        progress.summary(summary(report))


class ExporterSpec(component_spec.ComponentSpec):
    PARAMETERS = {"config": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        **DATASET_INPUTS,
        "ingested_items": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "towers": component_spec.ChannelParameter(type=Towers),
        "index": component_spec.ChannelParameter(type=VectorIndex),
        "ranker": component_spec.ChannelParameter(type=Ranker, optional=True),
    }
    OUTPUTS = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}


class Exporter(base_component.BaseComponent):
    """Exports towers, ranking model, index, vocabularies, categories and the text encoder as one SavedModel.

    Args:
      dataset: the transformed dataset.
      ingested_items: the items before Transform, which have the names of their categories.
      towers: the retrieval model.
      index: the index over its item vectors.
      ranker: the ranking model, or None.
      config: the run's configuration.
    """

    SPEC_CLASS = ExporterSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(ExporterExecutor)

    def __init__(
        self,
        dataset: DatasetChannels,
        ingested_items: types.BaseChannel,
        towers: types.BaseChannel,
        index: types.BaseChannel,
        ranker: types.BaseChannel | None,
        config: Config,
    ):
        super().__init__(
            ExporterSpec(
                config=config.restricted("text", "model", "ranking", "index", "serving").to_json(),
                **vars(dataset),
                ingested_items=ingested_items,
                towers=towers,
                index=index,
                ranker=ranker,
                model=types.Channel(type=standard_artifacts.Model),
            )
        )
