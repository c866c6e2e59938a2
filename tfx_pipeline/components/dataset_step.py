"""What every component that trains or evaluates has in common: a transformed dataset as its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, component_spec, standard_artifacts

from serving.client import UserRequest
from tfx_pipeline.artifacts import TextEmbeddings
from tfx_pipeline.fingerprint import code_fingerprint
from tfx_pipeline.runs import users
from tfx_pipeline.terminal import progress
from trainer.config import Config
from trainer.data import loading
from trainer.data.loading import Dataset, DatasetPaths
from trainer.ranking import model as ranking_model
from trainer.ranking import persistence as ranking_persistence
from trainer.ranking import training as ranking_training
from trainer.retrieval import model as retrieval_model
from trainer.retrieval import persistence as retrieval_persistence
from trainer.training.checkpoints import key_of

DATASET_INPUTS = {
    "sequences": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    "items": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    "sequence_transform": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
    "item_transform": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
    "texts": component_spec.ChannelParameter(type=TextEmbeddings),
}


@dataclass(frozen=True)
class DatasetChannels:
    """What a component is given; `vars(channels)` fits `DATASET_INPUTS`."""

    sequences: types.BaseChannel
    items: types.BaseChannel
    sequence_transform: types.BaseChannel
    item_transform: types.BaseChannel
    texts: types.BaseChannel


@dataclass(frozen=True)
class Step:
    """One execution: its configuration, and where its artifacts lie."""

    config: Config
    inputs: dict[str, str]  # directories; a key is absent where an optional input is
    outputs: dict[str, str]
    checkpoints: str = ""  # of the trainings that this kind of step has not done; "" for none
    serving_directory: str = ""  # where models are pushed, for a step that is told
    trials_directory: str = ""  # where searches keep their state, likewise

    @property
    def paths(self) -> DatasetPaths:
        return DatasetPaths(**{name: self.inputs[name] for name in DATASET_INPUTS})

    def dataset(self, *splits: str, with_texts: bool = False) -> Dataset:
        return loading.load(self.config, self.paths, splits, with_texts=with_texts)

    def towers(self, dataset: Dataset) -> retrieval_model.RetrievalModel:
        return retrieval_persistence.load(self.inputs["towers"], dataset.items, dataset.texts)

    def ranker(self, towers: retrieval_model.RetrievalModel) -> ranking_model.RankingModel:
        """The ranking model, on top of these towers."""
        ranker = ranking_persistence.load(self.inputs["ranker"])
        ranker.attach(towers.item_vectors())
        return ranker

    @property
    def evaluated_split(self) -> str:
        """The split that the run's models are judged on."""
        return "test" if self.config.data.split.test else "validation"

    def training_options(self) -> dict[str, Any]:
        """What the training steps give to `train` alike: where checkpoints and logs go, and who is told.

        The outputs' directories are new in every execution. A checkpoint is found again by what the training depends
        on: configuration, sources and inputs.
        """
        inputs = [text for pair in sorted(self.inputs.items()) for text in pair]
        key = key_of(self.config.to_json(), code_fingerprint(), inputs)[:32]
        return {
            "checkpoints": f"{self.checkpoints}/{key}" if self.checkpoints else None,
            "logs": self.outputs["model_run"],
            "on_update": progress.update,
        }

    def requests(self, split: str, user_ids: list[str]) -> list[UserRequest]:
        """What users would ask just before what is held out of them, as raw as clients send it."""
        settings = self.config.evaluation
        return users.held_out(
            self.inputs["ingested"],
            split,
            user_ids,
            with_query=settings.with_query,
            with_timestamp=settings.with_timestamp,
        )

    def ranking_is_served(self) -> bool:
        """Whether there is a ranking model and `recommend` uses it."""
        return "ranker" in self.inputs and ranking_training.is_used(self.config.serving, self.inputs["ranker"])


class DatasetExecutor(base_executor.BaseExecutor):
    """An executor that works on a transformed dataset. Subclasses implement `run`."""

    def run(self, step: Step) -> None:
        raise NotImplementedError

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        def directories(artifacts: dict[str, list[types.Artifact]]) -> dict[str, str]:
            return {key: artifact_utils.get_single_uri(found) for key, found in artifacts.items() if found}

        config = Config.from_json(exec_properties["config"])
        root = exec_properties.get("checkpoints")
        checkpoints = f"{root}/{type(self).__name__.removesuffix('Executor')}" if root else ""
        told = {name: exec_properties.get(name) or "" for name in ("serving_directory", "trials_directory")}
        self.run(Step(config, directories(input_dict), directories(output_dict), checkpoints, **told))
