"""The models of a finished run, loaded for use outside the pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tfx_pipeline.runs.run_directory import RunDirectory
from trainer.data import loading
from trainer.ranking import model as ranking_model, persistence as ranking_persistence, training as ranking_training
from trainer.retrieval import model as retrieval_model, persistence as retrieval_persistence
from trainer.config import Config
from trainer.data.tables import TextVectors
from trainer.data.loading import Dataset, DatasetPaths
from trainer.text.fine_tuning.saved import fine_tuned_vectors


@dataclass(frozen=True)
class TrainedRun:
    config: Config
    dataset: Dataset
    towers: retrieval_model.RetrievalModel
    ranker: ranking_model.RankingModel | None  # None where `recommend` is served without one


def dataset_paths(directory: RunDirectory) -> DatasetPaths:
    """Where a finished run left its dataset.

    Raises:
      TowersError: there is no finished run.
    """
    return DatasetPaths(
        sequences=directory.output("SequencesTransform", "transformed_examples"),
        items=directory.output("ItemsTransform", "transformed_examples"),
        sequence_transform=directory.output("SequencesTransform", "transform_graph"),
        item_transform=directory.output("ItemsTransform", "transform_graph"),
        texts=directory.output("EmbedTexts", "texts"),
    )


def load(directory: RunDirectory, splits: tuple[str, ...], config: Config | None = None) -> TrainedRun:
    """Loads a run's configuration, data and models.

    Args:
      directory: the run's.
      splits: their names.
      config: the run's with other settings of serving; by default the run's own.

    Raises:
      TowersError: there is no finished run.
    """
    config = config or directory.finished_config()
    dataset = loading.load(config, dataset_paths(directory), splits)
    towers = retrieval_persistence.load(_towers(directory), dataset.items, dataset.texts)
    return TrainedRun(config, dataset, towers, _load_ranker(directory, config, towers))


def text_vectors(directory: RunDirectory, run: TrainedRun) -> TextVectors | None:
    """The vectors of the run's texts that its towers read: by their own encoder, where it was trained with them."""
    return fine_tuned_vectors(run.towers.config, Path(_towers(directory)), run.dataset.texts)


def _load_ranker(
    directory: RunDirectory, config: Config, towers: retrieval_model.RetrievalModel
) -> ranking_model.RankingModel | None:
    if not config.ranking.enabled:
        return None
    ranker_directory = directory.output("RankingTrainer", "ranker")
    if not ranking_training.is_used(config.serving, ranker_directory):
        return None
    ranker = ranking_persistence.load(ranker_directory)
    ranker.attach(towers.item_vectors())
    return ranker


def _towers(directory: RunDirectory) -> str:
    return directory.output("RetrievalTrainer", "towers")
