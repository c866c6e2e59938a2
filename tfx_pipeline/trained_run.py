"""The models of a finished run, loaded for use outside the pipeline."""

from __future__ import annotations

from dataclasses import dataclass

from tfx_pipeline.run_directory import RunDirectory
from trainer import loading, ranking, ranking_training, retrieval
from trainer.config import Config
from trainer.loading import Dataset, DatasetPaths


@dataclass(frozen=True)
class TrainedRun:
    config: Config
    dataset: Dataset
    towers: retrieval.RetrievalModel
    ranker: ranking.RankingModel | None  # None where `recommend` is served without one


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


def load(directory: RunDirectory, splits: tuple[str, ...]) -> TrainedRun:
    """Loads a run's configuration, data and models.

    Raises:
      TowersError: there is no finished run.
    """
    config = directory.finished_config()
    dataset = loading.load(config, dataset_paths(directory), splits)
    towers = retrieval.load(directory.output("RetrievalTrainer", "towers"), dataset.items, dataset.texts)
    ranker = None
    if config.ranking.enabled and ranking_training.is_used(
        config.serving, directory.output("RankingTrainer", "ranker")
    ):
        ranker = ranking.load(directory.output("RankingTrainer", "ranker"))
        ranker.attach(towers.item_vectors())
    return TrainedRun(config, dataset, towers, ranker)
