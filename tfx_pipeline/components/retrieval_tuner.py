"""Searches hyperparameters of the retrieval model."""

from __future__ import annotations

import json
from pathlib import Path

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from tfx_pipeline.components.dataset_step import DATASET_INPUTS, DatasetChannels, DatasetExecutor, Step
from tfx_pipeline.terminal import progress
from trainer.config import Config
from trainer.files import write_text
from trainer.retrieval import tuning
from trainer.training.checkpoints import key_of

# TFX's Tuner has its result under this name.
FILE = "best_hyperparameters.txt"
TRIALS = "trials.json"


class RetrievalTunerExecutor(DatasetExecutor):
    def run(self, step: Step) -> None:
        config = step.config
        dataset = step.dataset("validation", with_texts=config.text.trainable_layers != 0)
        # More trials are no other search. The code is left out: a search of days should outlive a corrected comment.
        searched = config.model_copy(update={"tuning": config.tuning.model_copy(update={"trials": 1})})
        inputs = [text for pair in sorted(step.inputs.items()) for text in pair]
        directory = Path(step.trials_directory, key_of(searched.to_json(), inputs)[:32])
        trials = tuning.search(config, dataset, directory, progress.update)
        output = Path(step.outputs["best_hyperparameters"])
        write_text(output / TRIALS, json.dumps([vars(trial) for trial in trials], indent=1))
        write_text(output / FILE, json.dumps(trials[0].values, indent=1))
        best = trials[0]
        progress.summary(f"{len(trials)} trials, validation NDCG@10 {best.score:.4f} with {tuning.said(best.values)}")


class RetrievalTunerSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "config": component_spec.ExecutionParameter(type=str),
        "trials_directory": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = DATASET_INPUTS
    OUTPUTS = {"best_hyperparameters": component_spec.ChannelParameter(type=standard_artifacts.HyperParameters)}


class RetrievalTuner(base_component.BaseComponent):
    """KerasTuner's search, with the output of TFX's Tuner; that one takes a single input of examples.

    Args:
      dataset: the transformed dataset.
      config: the configuration, with what to search.
      trials_directory: where searches keep their state.
    """

    SPEC_CLASS = RetrievalTunerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(RetrievalTunerExecutor)

    def __init__(self, dataset: DatasetChannels, config: Config, trials_directory: str):
        sections = ("text", "model", "retrieval", "evaluation", "tuning")
        super().__init__(
            RetrievalTunerSpec(
                config=config.restricted(*sections).to_json(),
                trials_directory=trials_directory,
                **vars(dataset),
                best_hyperparameters=types.Channel(type=standard_artifacts.HyperParameters),
            )
        )
