"""Full-ranking evaluation of the run's models beside baselines that are trained on the same split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from tfx_pipeline.artifacts import Ranker, Towers
from tfx_pipeline.components import rating_slices
from tfx_pipeline.components.dataset_step import DATASET_INPUTS, DatasetChannels, DatasetExecutor, Step
from tfx_pipeline.runs.reporting import RATING_SLICES
from tfx_pipeline.terminal import progress
from trainer.config import Config
from trainer.data import loading
from trainer.data.features import has_clock
from trainer.data.loading import Dataset
from trainer.evaluation import describe, document, examples, per_user
from trainer.evaluation.detailed import Evaluated, evaluate_in_detail
from trainer.evaluation.slices import slices
from trainer.files import write_text


class EvaluatorExecutor(DatasetExecutor):
    def run(self, step: Step) -> None:
        split = step.evaluated_split
        dataset = step.dataset("validation", split)
        towers = step.towers(dataset)
        ranker = step.ranker(towers) if "ranker" in step.inputs else None
        spoken = loading.load_languages(step.config, step.paths)
        found = evaluate_in_detail(step.config, towers, dataset, split, ranker, spoken)
        used = {"ranking_is_served": step.ranking_is_served(), "use_ranking": step.config.serving.use_ranking}
        result = {"split": split, **used, **found.document}
        output = Path(step.outputs["evaluation"])
        per_user.write(output, step.config, found.stages, dataset.items, dataset.splits[split])
        write_text(
            output / RATING_SLICES,
            json.dumps(_of_ratings(step.config, dataset, split, found, spoken, output / "tfma")),
        )
        shown = examples.example_users(
            step.config,
            towers,
            dataset,
            split,
            ranker if step.ranking_is_served() else None,
            spoken,
            lambda rows: loading.load_some_texts(step.config, step.paths, rows),
        )
        write_text(output / "examples.json", json.dumps(shown, indent=1, ensure_ascii=False))
        write_text(output / document.FILE, json.dumps(result, indent=1, ensure_ascii=False))
        progress.summary(describe.line(result))


def _of_ratings(
    config: Config, dataset: Dataset, split: str, found: Evaluated, spoken: np.ndarray | None, output: Path
) -> list[dict[str, Any]]:
    """See `rating_slices.analyse`; empty where nothing is said of ratings, or of too few."""
    if found.target_ratings is None or not found.document["ratings"]:
        return []
    parts = slices(
        dataset.items,
        dataset.splits[split],
        dataset.train,
        found.stages.targets,
        clock=has_clock(config.data),
        languages=spoken,
    )
    return rating_slices.analyse(found.target_ratings, config.ranking.liked_rating, found.stages.targets, parts, output)


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
