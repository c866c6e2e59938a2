"""Data statistics that are stored with a blessing, as the reference for later runs."""

from __future__ import annotations

import os
from typing import TypeAlias

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.dsl.io import fileio

Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList


def write(blessing: str, table: str, statistics: Statistics) -> None:
    """Stores a table's statistics in a blessing's directory."""
    with fileio.open(_path(blessing, table), "wb") as file:
        file.write(statistics.SerializeToString())


def read(blessing: str, table: str) -> Statistics:
    """Reads what `write` wrote."""
    return tfdv.load_stats_binary(_path(blessing, table))


def _path(blessing: str, table: str) -> str:
    return os.path.join(blessing, f"{table}_statistics.pb")
