"""Evaluates the run's models and baselines trained on the same events, by ranking all of `evaluation.candidates`."""

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
from tfx_pipeline.runs.reporting import RATING_SLICES, evaluation_document
from tfx_pipeline.terminal import progress
from trainer.config import Config
from trainer.data import texts
from trainer.data.dataset import Dataset
from trainer.data.features import has_clock
from trainer.evaluation import describe, document, examples, per_user
from trainer.evaluation.detailed import Evaluated, evaluate_in_detail
from trainer.evaluation.slices import slices
from trainer.files import write_text


class EvaluatorExecutor(DatasetExecutor):
    def run(self, step: Step) -> None:
        config, split = step.config, step.evaluated_split
        output = Path(step.outputs["evaluation"])
        dataset = step.load_dataset("validation", split)
        languages = texts.load_languages(config, step.dataset_paths)
        towers = step.load_towers(dataset)
        ranker = step.load_ranker(towers) if "ranker" in step.inputs else None
        ranking_is_served = step.ranking_is_served()

        evaluated = evaluate_in_detail(config, towers, dataset, split, ranker, languages)
        evaluation = evaluation_document(config, split, evaluated.document, ranking_is_served=ranking_is_served)
        per_user.write(output, config, evaluated.stages, dataset.items, dataset.splits[split])
        rating_rows = _rating_slices(config, dataset, split, evaluated, languages, output / "tfma")
        write_text(output / RATING_SLICES, json.dumps(rating_rows))
        users = examples.example_users(
            config,
            towers,
            dataset,
            split,
            ranker if ranking_is_served else None,
            languages,
            lambda rows: texts.load_texts(config, step.dataset_paths, rows),
        )
        write_text(output / "examples.json", json.dumps(users, indent=1, ensure_ascii=False))
        write_text(output / document.FILE, json.dumps(evaluation, indent=1, ensure_ascii=False))
        progress.summary(describe.line(evaluation))


def _rating_slices(
    config: Config, dataset: Dataset, split: str, evaluated: Evaluated, languages: np.ndarray | None, output: Path
) -> list[dict[str, Any]]:
    """See `rating_slices.analyse`; empty if no ratings are predicted or too few are held out."""
    if evaluated.target_ratings is None or not evaluated.document["ratings"]:
        return []
    parts = slices(
        dataset.items,
        dataset.splits[split],
        dataset.train,
        evaluated.stages.targets,
        clock=has_clock(config.data),
        languages=languages,
    )
    return rating_slices.analyse(
        evaluated.target_ratings, config.ranking.liked_rating, evaluated.stages.targets, parts, output
    )


class EvaluatorSpec(component_spec.ComponentSpec):
    PARAMETERS = {"config": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        **DATASET_INPUTS,
        "towers": component_spec.ChannelParameter(type=Towers),
        "ranker": component_spec.ChannelParameter(type=Ranker, optional=True),
    }
    OUTPUTS = {"evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation)}


class Evaluator(base_component.BaseComponent):
    """Evaluation on the test split, or on validation if there is no test split.

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
