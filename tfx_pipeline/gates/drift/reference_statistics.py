"""Statistics of a run's data, kept with its blessing for later runs to be held against."""

from __future__ import annotations

import os
from typing import TypeAlias

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import types
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from trainer.config import DataConfig
from trainer.data.features import Feature, item_features, sequence_features

_TABLES = {"sequences": ("train", sequence_features), "items": ("all", item_features)}
TABLES = tuple(_TABLES)

Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList


def present(table: str, input_dict: dict[str, list[types.Artifact]]) -> Statistics:
    """Of the split that models learn from; `input_dict` has `<table>_statistics`."""
    statistics = artifact_utils.get_single_instance(input_dict[f"{table}_statistics"])
    return stats_artifact_utils.load_statistics(statistics, _TABLES[table][0]).proto()


def features(table: str, data: DataConfig) -> list[Feature]:
    return _TABLES[table][1](data)


def write(blessing: str, table: str, statistics: Statistics) -> None:
    with fileio.open(_file(blessing, table), "wb") as file:
        file.write(statistics.SerializeToString())


def read(blessing: str, table: str) -> Statistics:
    return tfdv.load_stats_binary(_file(blessing, table))


def _file(blessing: str, table: str) -> str:
    return os.path.join(blessing, f"{table}_statistics.pb")
