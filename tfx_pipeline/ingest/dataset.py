"""Ingestion of a dataset: raw tables to point-in-time sequences, a catalogue and a quarantine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from tfx_pipeline.ingest import files
from tfx_pipeline.ingest.counts import COUNTS_FILE, IngestReport
from tfx_pipeline.ingest.examples import WriteExamples
from tfx_pipeline.ingest.job import IngestJob
from tfx_pipeline.ingest.sequences import BuildSequences
from tfx_pipeline.ingest.splits import Splitter
from tfx_pipeline.ingest.table_pipeline import TablePipeline
from tfx_pipeline.ingest.tags import ITEM_COUNTS
from trainer.config import Config

__all__ = ["COUNTS_FILE", "OutputPaths", "ingest"]


@dataclass(frozen=True)
class OutputPaths:
    """Directories to be written; each is absent or empty before."""

    sequences: str  # Split-train/, Split-validation/, Split-test/
    items: str  # Split-all/
    quarantine: str  # quarantine-*.jsonl.gz, counts.json


def ingest(
    config: Config,
    data_root: str,
    output: OutputPaths,
    pipeline_args: list[str] | None = None,
    make_pipeline: Callable[[], beam.Pipeline] | None = None,
) -> IngestReport:
    """Reads, checks, orders and splits a dataset in one Beam pipeline.

    Args:
      config: the dataset's configuration.
      data_root: directory that its relative paths start from.
      output: where the results go. Sequences and items appear complete or not at all; the quarantine appears also if
        ingestion fails because of its rows.
      pipeline_args: Beam's options as on a command line.
      make_pipeline: makes the pipeline instead (a TFX executor does); `pipeline_args` are then not used.

    Returns: the counts, which `counts.json` in the quarantine directory holds too.

    Raises:
      UsageError: the configuration cannot work (key for pseudonyms, split dates).
      TowersError: a file or column is missing, a table is empty, too many rows are broken, a split would be empty, an
        output directory is in use or the disk is full.
    """
    data = config.data
    splitter = Splitter.from_config(data.split, data.interactions.time_format)
    job = IngestJob(data, data_root, files.configured_tables(data))
    return job.run(
        [output.sequences, output.items],
        output.quarantine,
        _build,
        make_pipeline or (lambda: beam.Pipeline(options=PipelineOptions(pipeline_args or []))),
        splitter.names,
    )


def _build(tables: TablePipeline, directories: Sequence[str]) -> None:
    sequence_directory, item_directory = directories
    shards = tables.shards
    by_user = [tables.read(table) for table in ("interactions", "users") if table in tables.source_files]
    sequences = tables.with_checks(
        tables.group("users", by_user, shards.users)
        | BuildSequences(tables.data, shards.items, shards.quarantine, tables.source_files.get("users", []))
    )
    _ = sequences.examples | "Write sequences" >> WriteExamples(sequence_directory, shards.users)
    by_item = [sequences[ITEM_COUNTS]]
    if "items" in tables.source_files:
        by_item.append(tables.read("items"))
    tables.write_items(by_item, item_directory)
