"""The two tables of a dataset: their features, and the split from which statistics, schema and models are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import types
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.types import artifact_utils

from trainer.config import DataConfig
from trainer.data.features import Feature, item_features, sequence_features


@dataclass(frozen=True)
class Table:
    """One of the tables.

    Attributes:
      features: its features, by the `data` section.
      train_split: the split that models are trained on.
    """

    features: Callable[[DataConfig], list[Feature]]
    train_split: str

    def load_statistics(self, artifacts: list[types.Artifact]) -> statistics_pb2.DatasetFeatureStatisticsList:
        """Statistics of the train split; `artifacts` is an executor's input, the output of StatisticsGen."""
        statistics = artifact_utils.get_single_instance(artifacts)
        return stats_artifact_utils.load_statistics(statistics, self.train_split).proto()


TABLES = {"sequences": Table(sequence_features, "train"), "items": Table(item_features, "all")}
