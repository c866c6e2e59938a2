"""Full-ranking evaluation of the run's models beside baselines that are trained on the same split."""

from __future__ import annotations

import json
from pathlib import Path

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from tfx_pipeline import progress
from tfx_pipeline.artifacts import Ranker, Towers
from tfx_pipeline.components.dataset_step import DATASET_INPUTS, DatasetChannels, DatasetExecutor, Step
from tfx_pipeline.run_directory import replace_file
from trainer import loading, ranking
from trainer.config import Config
from trainer.evaluation import describe, examples, per_user
from trainer.evaluation.detailed import evaluate_in_detail


class EvaluatorExecutor(DatasetExecutor):
    def run(self, step: Step) -> None:
        split = "test" if step.config.data.split.test else "validation"
        dataset = step.dataset("validation", split)
        towers, ranker = step.towers(dataset), None
        if "ranker" in step.inputs:
            ranker = ranking.load(step.inputs["ranker"])
            ranker.attach(towers.item_vectors())
        spoken = loading.load_languages(step.config, step.paths)
        result, stages = evaluate_in_detail(step.config, towers, dataset, split, ranker, spoken)
        used = {"ranking_is_served": step.ranking_is_served(), "use_ranking": step.config.serving.use_ranking}
        result = {"split": split, **used, **result}
        output = Path(step.outputs["evaluation"])
        per_user.write(output, step.config, stages, dataset.items, dataset.splits[split])
        shown = examples.example_users(
            step.config,
            towers,
            dataset,
            split,
            ranker if step.ranking_is_served() else None,
            spoken,
            lambda rows: loading.load_some_texts(step.config, step.paths, rows),
        )
        replace_file(output / "examples.json", json.dumps(shown, indent=1, ensure_ascii=False))
        replace_file(output / "evaluation.json", json.dumps(result, indent=1, ensure_ascii=False))
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
