"""Trains the two-tower retrieval model; `trainer.retrieval.training` does the same outside TFX."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from tfx_pipeline.artifacts import Towers
from tfx_pipeline.components.dataset_step import DATASET_INPUTS, DatasetChannels, DatasetExecutor, Step
from tfx_pipeline.terminal import progress
from trainer.config import Config
from trainer.retrieval import training as retrieval_training


class RetrievalTrainerExecutor(DatasetExecutor):
    def run(self, step: Step) -> None:
        dataset = step.load_dataset("validation", with_texts=step.config.text.trainable_layers != 0)
        result = retrieval_training.train(
            step.config,
            dataset,
            step.outputs["towers"],
            on_epoch=progress.epoch,
            **step.training_options(),
        )
        progress.summary(
            f"validation NDCG@10 {result['ndcg@10']:.4f} at epoch {result['best_epoch']}, "
            f"{result['parameters'] / 1e6:.1f} M parameters"
        )


class RetrievalTrainerSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "config": component_spec.ExecutionParameter(type=str),
        "checkpoints": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = DATASET_INPUTS
    OUTPUTS = {
        "towers": component_spec.ChannelParameter(type=Towers),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun),  # TensorBoard's event files
    }


class RetrievalTrainer(base_component.BaseComponent):
    """Trainer of the retrieval model.

    Args:
      dataset: the transformed dataset.
      config: the run's configuration.
      checkpoints: directory for the state of unfinished trainings; "" for none.
    """

    SPEC_CLASS = RetrievalTrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(RetrievalTrainerExecutor)

    def __init__(self, dataset: DatasetChannels, config: Config, checkpoints: str):
        sections = ("text", "model", "retrieval", "evaluation")
        super().__init__(
            RetrievalTrainerSpec(
                config=config.restricted(*sections).to_json(),
                checkpoints=checkpoints,
                **vars(dataset),
                towers=types.Channel(type=Towers),
                model_run=types.Channel(type=standard_artifacts.ModelRun),
            )
        )
