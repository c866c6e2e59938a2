"""Trains the ranking model on the candidates that this run's retrieval model returns."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from tfx_pipeline.artifacts import Ranker, Towers
from tfx_pipeline.components.dataset_step import DATASET_INPUTS, DatasetChannels, DatasetExecutor, Step
from tfx_pipeline.terminal import progress
from trainer.config import Config
from trainer.ranking import training as ranking_training


class RankingTrainerExecutor(DatasetExecutor):
    def run(self, step: Step) -> None:
        dataset = step.load_dataset("validation")
        result = ranking_training.train(
            step.config,
            step.load_towers(dataset),
            dataset,
            step.outputs["ranker"],
            on_epoch=progress.epoch,
            **step.training_options(),
        )
        if result["retrieve"] is None:
            progress.summary("not used: there are no validation users to judge it by")
            return
        outcome = "used" if result["use_ranking"] else "not used: no clear gain"
        before, after = result["retrieve"]["ndcg@10"], result["recommend"]["ndcg@10"]
        error = result["standard_error"]
        progress.summary(f"validation NDCG@10 {before:.4f} -> {after:.4f} (standard error {error:.4f}), {outcome}")


class RankingTrainerSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "config": component_spec.ExecutionParameter(type=str),
        "checkpoints": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {**DATASET_INPUTS, "towers": component_spec.ChannelParameter(type=Towers)}
    OUTPUTS = {
        "ranker": component_spec.ChannelParameter(type=Ranker),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun),  # TensorBoard's event files
    }


class RankingTrainer(base_component.BaseComponent):
    """Trainer of the ranking model.

    Args:
      dataset: the transformed dataset.
      towers: the retrieval model.
      config: the run's configuration.
      checkpoints: directory for the state of unfinished trainings; "" for none.
    """

    SPEC_CLASS = RankingTrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(RankingTrainerExecutor)

    def __init__(self, dataset: DatasetChannels, towers: types.BaseChannel, config: Config, checkpoints: str):
        sections = ("text", "model", "retrieval", "ranking", "serving", "evaluation")
        super().__init__(
            RankingTrainerSpec(
                config=config.restricted(*sections).to_json(),
                checkpoints=checkpoints,
                **vars(dataset),
                towers=towers,
                ranker=types.Channel(type=Ranker),
                model_run=types.Channel(type=standard_artifacts.ModelRun),
            )
        )
