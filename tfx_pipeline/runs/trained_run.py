"""Loads the data and models of a finished run for use outside the pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tfx_pipeline.runs.run_directory import RunDirectory
from trainer.config import Config
from trainer.data import loading
from trainer.data.dataset import Dataset, DatasetPaths
from trainer.data.tables import TextVectors
from trainer.ranking import persistence as ranking_persistence
from trainer.ranking import training as ranking_training
from trainer.ranking.model import RankingModel
from trainer.retrieval import persistence as retrieval_persistence
from trainer.retrieval.model import RetrievalModel
from trainer.text.fine_tuning.saved import fine_tuned_vectors


@dataclass(frozen=True)
class TrainedRun:
    """A finished run in memory.

    Attributes:
      config: its configuration.
      dataset: the catalogue and the splits that were asked for.
      towers: the retrieval model.
      ranker: the ranking model; None if `recommend` is served without it.
    """

    config: Config
    dataset: Dataset
    towers: RetrievalModel
    ranker: RankingModel | None


def dataset_paths(directory: RunDirectory) -> DatasetPaths:
    """Directories of a finished run's dataset.

    Raises:
      TowersError: the directory holds no finished run.
    """
    return DatasetPaths(
        sequences=directory.output("SequencesTransform", "transformed_examples"),
        items=directory.output("ItemsTransform", "transformed_examples"),
        sequence_transform=directory.output("SequencesTransform", "transform_graph"),
        item_transform=directory.output("ItemsTransform", "transform_graph"),
        texts=directory.output("EmbedTexts", "texts"),
    )


def load(directory: RunDirectory, splits: tuple[str, ...], config: Config | None = None) -> TrainedRun:
    """Loads a finished run's configuration, data and models.

    Args:
      directory: the run's directory.
      splits: names of the splits to load besides train.
      config: the run's configuration with other settings of serving or the index; by default the run's own.

    Raises:
      TowersError: the directory holds no finished run.
    """
    config = config or directory.finished_config()
    dataset = loading.load(config, dataset_paths(directory), splits)
    towers = retrieval_persistence.load(_towers_directory(directory), dataset.items, dataset.texts)
    ranker = None
    if config.ranking.enabled:
        ranker_directory = directory.output("RankingTrainer", "ranker")
        if ranking_training.is_used(config.serving, ranker_directory):
            ranker = load_ranker(ranker_directory, towers)
    return TrainedRun(config, dataset, towers, ranker)


def load_ranker(directory: str, towers: RetrievalModel) -> RankingModel:
    """Loads a ranking model and attaches it to the item vectors of the run's towers."""
    ranker = ranking_persistence.load(directory)
    ranker.attach(towers.item_vectors())
    return ranker


def text_vectors(directory: RunDirectory, run: TrainedRun) -> TextVectors | None:
    """The text vectors that the run's towers read: those of the fine-tuned encoder if the run has one."""
    return fine_tuned_vectors(run.towers.config, Path(_towers_directory(directory)), run.dataset.texts)


def _towers_directory(directory: RunDirectory) -> str:
    return directory.output("RetrievalTrainer", "towers")
