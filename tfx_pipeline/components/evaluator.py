"""Full-ranking evaluation of the run's models beside the popularity baseline."""

from __future__ import annotations

import json
import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from tfx_pipeline import progress
from tfx_pipeline.artifacts import Ranker, Towers
from tfx_pipeline.components.dataset_inputs import DATASET_INPUTS, DatasetChannels, dataset_paths
from trainer import loading, ranking, retrieval
from trainer.config import Config
from trainer.evaluation import describe, evaluate


class EvaluatorExecutor(base_executor.BaseExecutor):
    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        config = Config.from_json(exec_properties["config"])
        split = "test" if config.data.split.test else "validation"
        dataset = loading.load(config, dataset_paths(input_dict), (split,))
        towers = retrieval.load(artifact_utils.get_single_uri(input_dict["towers"]), dataset.items, dataset.texts)
        ranker, served = None, True
        if "ranker" in input_dict:
            trained = artifact_utils.get_single_uri(input_dict["ranker"])
            ranker, served = ranking.load(trained), ranking.is_used(config.serving, trained)
            ranker.attach(towers.item_vectors(), ranking.popularity(dataset.items))
        result = evaluate.evaluate(config, towers, dataset.items, dataset.splits[split], ranker)
        directory = artifact_utils.get_single_uri(output_dict["evaluation"])
        with open(os.path.join(directory, "evaluation.json"), "w", encoding="utf-8") as file:
            json.dump({"split": split, "ranking_is_served": served, **result}, file, indent=2, ensure_ascii=False)
        progress.summary(describe.line(result))


class EvaluatorSpec(component_spec.ComponentSpec):
    PARAMETERS = {"config": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        **DATASET_INPUTS,
        "towers": component_spec.ChannelParameter(type=Towers),
        "ranker": component_spec.ChannelParameter(type=Ranker, optional=True),
    }
    OUTPUTS = {"evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation)}


class Evaluator(base_component.BaseComponent):
    """Evaluation on the test split (on validation where there is none).

    Args:
      dataset: the transformed dataset.
      towers: the retrieval model.
      ranker: the ranking model, or None.
      config: the run's configuration.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(EvaluatorExecutor)

    def __init__(
        self, dataset: DatasetChannels, towers: types.BaseChannel, ranker: types.BaseChannel | None, config: Config
    ):
        super().__init__(
            EvaluatorSpec(
                config=config.restricted("text", "model", "ranking", "serving", "evaluation").to_json(),
                **vars(dataset),
                towers=towers,
                ranker=ranker,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
            )
        )
