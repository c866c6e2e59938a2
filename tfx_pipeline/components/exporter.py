"""Writes the one SavedModel that is served."""

from __future__ import annotations

import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from serving import export
from tfx_pipeline import progress
from tfx_pipeline.artifacts import Ranker, Towers, VectorIndex
from tfx_pipeline.components.dataset_inputs import DATASET_INPUTS, DatasetChannels, dataset_paths
from trainer import loading, ranking, retrieval
from trainer.config import Config


class ExporterExecutor(base_executor.BaseExecutor):
    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        config = Config.from_json(exec_properties["config"])
        paths = dataset_paths(input_dict)
        dataset = loading.load(config, paths, ())
        towers = retrieval.load(artifact_utils.get_single_uri(input_dict["towers"]), dataset.items, dataset.texts)
        ranker = None
        if "ranker" in input_dict:
            trained = artifact_utils.get_single_uri(input_dict["ranker"])
            ranker = ranking.load(trained) if ranking.is_used(config.serving, trained) else None
        directory = path_utils.serving_model_dir(artifact_utils.get_single_uri(output_dict["model"]))
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        report = export.export(
            config,
            towers,
            ranker,
            index_directory=artifact_utils.get_single_uri(input_dict["index"]),
            dataset=dataset,
            sequence_transform=paths.sequence_transform,
            directory=directory,
        )
        progress.summary(export.describe(report))


class ExporterSpec(component_spec.ComponentSpec):
    PARAMETERS = {"config": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        **DATASET_INPUTS,
        "towers": component_spec.ChannelParameter(type=Towers),
        "index": component_spec.ChannelParameter(type=VectorIndex),
        "ranker": component_spec.ChannelParameter(type=Ranker, optional=True),
    }
    OUTPUTS = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}


class Exporter(base_component.BaseComponent):
    """Towers, ranking model, index, vocabularies and BERT in one SavedModel.

    Args:
      dataset: the transformed dataset.
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
        towers: types.BaseChannel,
        index: types.BaseChannel,
        ranker: types.BaseChannel | None,
        config: Config,
    ):
        super().__init__(
            ExporterSpec(
                config=config.restricted("text", "model", "ranking", "index", "serving").to_json(),
                **vars(dataset),
                towers=towers,
                index=index,
                ranker=ranker,
                model=types.Channel(type=standard_artifacts.Model),
            )
        )
