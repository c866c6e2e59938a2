"""Ingestion of the items table alone, with the same readers, checks and quarantine as that of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import apache_beam as beam

from tfx_pipeline.ingest.counts import IngestReport
from tfx_pipeline.ingest.item_counts import ItemCounts
from tfx_pipeline.ingest.job import IngestJob
from tfx_pipeline.ingest.table_pipeline import TablePipeline
from trainer.config import DataConfig
from trainer.errors import TowersError


@dataclass(frozen=True)
class CataloguePaths:
    """Directories to be written; each is absent or empty before."""

    items: str  # Split-all/
    quarantine: str  # quarantine-*.jsonl.gz, counts.json


def ingest_items(
    data: DataConfig,
    data_root: str,
    output: CataloguePaths,
    unlisted: Mapping[bytes, tuple[int, int]],
    make_pipeline: Callable[[], beam.Pipeline],
) -> IngestReport:
    """Reads and checks the items table.

    Args:
      data: the dataset's configuration, with an items table.
      data_root: directory that its relative path starts from.
      output: where the results go. Items appear complete or not at all; the quarantine appears also if the table has
        too many broken rows.
      unlisted: items that belong to the catalogue even without a row: id -> (train events, 1 if it occurs in any
        event, else 0).
      make_pipeline: makes the Beam pipeline to run in.

    Returns: the counts, which `counts.json` in the quarantine directory holds too; those of users and events are 0.

    Raises:
      UsageError: the key for pseudonyms cannot be read.
      TowersError: there is no such table, a file or column is missing, the table is empty, too many rows are broken, an
        output directory is in use or the disk is full.
    """
    if data.items is None:
        raise TowersError("the configuration has no items table (`data.items`): there is nothing to read again.")
    counts = ItemCounts()
    for item_id, (train, occurs) in unlisted.items():
        counts.add(item_id, train, occurs)

    def build(tables: TablePipeline, directories: Sequence[str]) -> None:
        unlisted_blocks = tables.pipeline | "Unlisted items" >> beam.Create(list(counts.blocks(tables.shards.items)))
        tables.write_items([unlisted_blocks, tables.read("items")], directories[0])

    return IngestJob(data, data_root, ["items"]).run([output.items], output.quarantine, build, make_pipeline)
