"""The search for hyperparameters of the retrieval model."""

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

# The file name that TFX's Tuner uses.
FILE = "best_hyperparameters.txt"
TRIALS = "trials.json"


class RetrievalTunerExecutor(DatasetExecutor):
    def run(self, step: Step) -> None:
        config = step.config
        dataset = step.load_dataset("validation", with_texts=config.text.trainable_layers != 0)
        # The key leaves two things out: the number of trials, so that more trials continue a search, and the code, so
        # that a corrected comment does not restart a search of several days.
        keyed = config.model_copy(update={"tuning": config.tuning.model_copy(update={"trials": 1})})
        directory = Path(step.trials_directory, step.key(keyed))
        trials = tuning.search(config, dataset, directory, progress.update)
        output = Path(step.outputs["best_hyperparameters"])
        write_text(output / TRIALS, json.dumps([vars(trial) for trial in trials], indent=1))
        write_text(output / FILE, json.dumps(trials[0].values, indent=1))
        best = trials[0]
        progress.summary(
            f"{len(trials)} trials, validation NDCG@10 {best.score:.4f} with {tuning.format_values(best.values)}"
        )


class RetrievalTunerSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "config": component_spec.ExecutionParameter(type=str),
        "trials_directory": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = DATASET_INPUTS
    OUTPUTS = {"best_hyperparameters": component_spec.ChannelParameter(type=standard_artifacts.HyperParameters)}


class RetrievalTuner(base_component.BaseComponent):
    """KerasTuner's search, with the output of TFX's Tuner, which itself takes only one input of examples.

    Args:
      dataset: the transformed dataset.
      config: the run's configuration; `tuning` says what to search.
      trials_directory: directory for the state of searches.
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
