"""The items table alone, read anew: by the same readers, checks and quarantine as in an ingestion of everything."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import apache_beam as beam

from serving.pseudonyms import PseudonymKeyError
from tfx_pipeline.ingest import blocks, counts, dataset, files
from tfx_pipeline.ingest.blocks import BlockBuffer
from tfx_pipeline.ingest.counts import IngestReport
from tfx_pipeline.ingest.examples import WriteExamples
from tfx_pipeline.ingest.items import BuildItems
from tfx_pipeline.ingest.read_table import ReadTable, pseudonymiser
from tfx_pipeline.ingest.staging import Staging
from tfx_pipeline.ingest.tags import ITEM_COUNTS_BLOCK
from trainer.config import DataConfig
from trainer.errors import TowersError, UsageError

_TABLE = "items"
_TALLY_FILE = "items_tally.json"


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
      data_root: what its relative path is relative to.
      output: where the results go. Items appear complete or not at all; the quarantine is also kept when the table has
        too many broken rows.
      unlisted: items that are to be in the catalogue even without a row: id -> (train events, 1 if it occurs in any
        event, else 0).
      make_pipeline: makes the Beam pipeline to run in.

    Returns: the counts, which `counts.json` in the quarantine directory holds too; of users and events they know none.

    Raises:
      UsageError: the key for pseudonyms cannot be read.
      TowersError: there is no such table, a file or column is missing, the table is empty, too many rows are broken, an
        output folder is in use or the disk is full.
    """
    if data.items is None:
        raise TowersError("the configuration has no items table (`data.items`): there is nothing to read anew.")
    try:
        pseudonymiser(data.pseudonymise)
    except PseudonymKeyError as error:
        raise UsageError(str(error)) from None
    found = files.find(_TABLE, data.items, data_root)
    dataset.check_first_file(_TABLE, found[0], data)
    with contextlib.ExitStack() as stack:
        stagings = []
        for path in (output.items, output.quarantine):
            stagings.append(Staging.of(path))
            stack.callback(stagings[-1].discard)
        items, quarantine = stagings
        tally_path = os.path.join(quarantine.aside, _TALLY_FILE)
        try:
            with make_pipeline() as pipeline:
                _build(pipeline, data, found, unlisted, items.aside, quarantine.aside, tally_path)
        except Exception as error:
            raise dataset.explained(error, output.items) from error
        report = dataset.publish_report(tally_path, quarantine, [_TABLE], ())
        counts.check_rows(report, data.max_bad_row_rate)
        items.publish()
    return report


def _build(
    pipeline: beam.Pipeline,
    data: DataConfig,
    found: list[files.SourceFile],
    unlisted: Mapping[bytes, tuple[int, int]],
    items: str,
    quarantine: str,
    tally_path: str,
) -> None:
    size = sum(file.expanded_size for file in found)
    shards, quarantine_shards = blocks.shard_count(size), blocks.shard_count(size // 4)
    read = (
        pipeline
        | "items files" >> beam.Create(found)
        | "Spread items files" >> beam.Reshuffle()
        | "Read items" >> ReadTable(_TABLE, data, shards, quarantine_shards)
    )
    known = pipeline | "Unlisted items" >> beam.Create(_count_blocks(unlisted, shards))
    catalogue = dataset.grouped(pipeline, "items", [known, read.blocks], shards) | BuildItems(
        data, quarantine_shards, [file.path for file in found]
    )
    _ = catalogue.examples | "Write items" >> WriteExamples(items, shards)
    dataset.write_broken(pipeline, [read, catalogue], quarantine, quarantine_shards, tally_path)


def _count_blocks(unlisted: Mapping[bytes, tuple[int, int]], shards: int) -> list[tuple[int, bytes]]:
    buffer = BlockBuffer(ITEM_COUNTS_BLOCK, shards)
    for item_id, (train, every) in unlisted.items():
        buffer.add(blocks.shard_of(item_id, shards), (item_id, train, every))
    return list(buffer.flush())
