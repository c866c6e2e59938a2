"""The base of all components that read the transformed dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, component_spec, standard_artifacts

from serving.client import UserRequest
from tfx_pipeline.artifacts import TextEmbeddings
from tfx_pipeline.fingerprint import code_fingerprint
from tfx_pipeline.runs import trained_run, users
from tfx_pipeline.terminal import progress
from trainer.config import Config
from trainer.data import loading
from trainer.data.dataset import Dataset, DatasetPaths
from trainer.ranking import training as ranking_training
from trainer.ranking.model import RankingModel
from trainer.retrieval import persistence as retrieval_persistence
from trainer.retrieval.model import RetrievalModel
from trainer.training.checkpoints import key_of

# Inputs of a component's specification.
DATASET_INPUTS = {
    "sequences": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    "items": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    "sequence_transform": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
    "item_transform": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
    "texts": component_spec.ChannelParameter(type=TextEmbeddings),
}


@dataclass(frozen=True)
class DatasetChannels:
    """Channels of the transformed dataset; `vars(channels)` has the keys of `DATASET_INPUTS`."""

    sequences: types.BaseChannel
    items: types.BaseChannel
    sequence_transform: types.BaseChannel
    item_transform: types.BaseChannel
    texts: types.BaseChannel


@dataclass(frozen=True)
class Step:
    """One execution of a component.

    Attributes:
      config: the sections of the configuration that the component depends on.
      inputs: input -> directory of its artifact; optional inputs may be absent.
      outputs: output -> directory of its artifact.
      checkpoints: directory for the state of unfinished trainings of this component; "" for none.
      serving_directory: directory of pushed models; "" if the component does not have this parameter.
      trials_directory: directory for the state of hyperparameter searches; "" likewise.
    """

    config: Config
    inputs: dict[str, str]
    outputs: dict[str, str]
    checkpoints: str = ""
    serving_directory: str = ""
    trials_directory: str = ""

    @property
    def dataset_paths(self) -> DatasetPaths:
        return DatasetPaths(**{name: self.inputs[name] for name in DATASET_INPUTS})

    @property
    def evaluated_split(self) -> str:
        """The split on which the run's models are evaluated: `test`, or `validation` if there is no test split."""
        return "test" if self.config.data.split.test else "validation"

    def load_dataset(self, *splits: str, with_texts: bool = False) -> Dataset:
        """The catalogue, the train split and the named splits; see `trainer.data.loading.load`."""
        return loading.load(self.config, self.dataset_paths, splits, with_texts=with_texts)

    def load_towers(self, dataset: Dataset) -> RetrievalModel:
        return retrieval_persistence.load(self.inputs["towers"], dataset.items, dataset.texts)

    def load_ranker(self, towers: RetrievalModel) -> RankingModel:
        """The ranking model, with the item vectors of these towers."""
        return trained_run.load_ranker(self.inputs["ranker"], towers)

    def ranking_is_served(self) -> bool:
        """Whether the step has a ranking model and `recommend` uses it."""
        return "ranker" in self.inputs and ranking_training.is_used(self.config.serving, self.inputs["ranker"])

    def held_out_requests(self, split: str, user_ids: list[str]) -> list[UserRequest]:
        """The raw requests that clients would send for these users just before their held-out events."""
        return users.held_out_requests(
            self.inputs["ingested"],
            split,
            user_ids,
            with_query=self.config.evaluation.with_query,
            with_timestamp=self.config.evaluation.with_timestamp,
        )

    def training_options(self) -> dict[str, Any]:
        """Arguments that both training steps pass to `train`: directories of checkpoints and logs, progress callback.

        A repeated execution has new output directories, but continues from the same checkpoint. The checkpoint's
        directory is therefore named after what the training depends on: configuration, code and inputs.
        """
        key = self.key(self.config, code_fingerprint())
        return {
            "checkpoints": f"{self.checkpoints}/{key}" if self.checkpoints else None,
            "logs": self.outputs["model_run"],
            "on_update": progress.update,
        }

    def key(self, config: Config, *parts: str) -> str:
        """A digest of a configuration, of further strings and of the step's inputs, to name a directory by."""
        inputs = [text for pair in sorted(self.inputs.items()) for text in pair]
        return key_of(config.to_json(), *parts, inputs)[:32]


class DatasetExecutor(base_executor.BaseExecutor):
    """An executor that works on the transformed dataset. Subclasses implement `run`."""

    def run(self, step: Step) -> None:
        raise NotImplementedError

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        checkpoints = exec_properties.get("checkpoints") or ""
        if checkpoints:
            checkpoints += "/" + type(self).__name__.removesuffix("Executor")
        step = Step(
            config=Config.from_json(exec_properties["config"]),
            inputs=_directories(input_dict),
            outputs=_directories(output_dict),
            checkpoints=checkpoints,
            serving_directory=exec_properties.get("serving_directory") or "",
            trials_directory=exec_properties.get("trials_directory") or "",
        )
        self.run(step)


def _directories(artifacts: dict[str, list[types.Artifact]]) -> dict[str, str]:
    return {key: artifact_utils.get_single_uri(instances) for key, instances in artifacts.items() if instances}
