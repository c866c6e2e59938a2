"""Ingestion of a dataset: raw tables in, point-in-time sequences, catalogue and quarantine out."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import apache_beam as beam
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from serving.pseudonyms import PseudonymKeyError
from tfx_pipeline.ingest import blocks, counts, files, readers, records
from tfx_pipeline.ingest.counts import IngestReport
from tfx_pipeline.ingest.examples import WriteExamples
from tfx_pipeline.ingest.items import BuildItems
from tfx_pipeline.ingest.quarantine import WriteQuarantine
from tfx_pipeline.ingest.read_table import ReadTable, pseudonymiser
from tfx_pipeline.ingest.sequences import BuildSequences
from tfx_pipeline.ingest.splits import Splitter
from tfx_pipeline.ingest.staging import Staging
from tfx_pipeline.ingest.tags import ITEM_COUNTS, NO_BLOCK, QUARANTINE, TALLY
from trainer.config import Config, DataConfig
from trainer.errors import TowersError, UsageError

COUNTS_FILE = "counts.json"
_TALLY_FILE = "tally.json"
_WRITING_FAILED = re.compile(
    "No space left on device|Disk quota exceeded|File too large|Read-only file system|Permission denied"
    "|Input/output error"
)
_KEY_ERROR = re.compile(r"PseudonymKeyError: ([^\n]*)")


@dataclass(frozen=True)
class OutputPaths:
    """Directories to be written; each is absent or empty before."""

    sequences: str  # Split-train/, Split-validation/, Split-test/
    items: str  # Split-all/
    quarantine: str  # quarantine-*.jsonl.gz, counts.json


@dataclass(frozen=True)
class _Shards:
    users: int
    items: int
    quarantine: int


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
      data_root: what its relative paths are relative to.
      output: where the results go. Sequences and items appear complete or not at all; the quarantine is also kept when
        the run stops because of it.
      pipeline_args: Beam's options as on a command line.
      make_pipeline: makes the pipeline instead (a TFX executor does); `pipeline_args` are then not used.

    Returns: the counts, which `counts.json` in the quarantine directory holds too.

    Raises:
      UsageError: the configuration cannot work (key for pseudonyms, split dates).
      TowersError: a file or column is missing, a table is empty, too many rows are broken, a split would be empty, an
        output folder is in use or the disk is full.
    """
    data = config.data
    splitter = Splitter.from_config(data.split, data.interactions.time_format)
    try:
        pseudonymiser(data.pseudonymise)
    except PseudonymKeyError as error:
        raise UsageError(str(error)) from None
    tables = {table: files.find(table, getattr(data, table), data_root) for table in counts.configured_tables(data)}
    for table, found in tables.items():
        check_first_file(table, found[0], data)

    with contextlib.ExitStack() as stack:
        stagings = []
        for path in (output.sequences, output.items, output.quarantine):
            stagings.append(Staging.of(path))
            stack.callback(stagings[-1].discard)
        sequences, items, quarantine = stagings
        tally_path = os.path.join(items.aside, _TALLY_FILE)
        try:
            with make_pipeline() if make_pipeline else _pipeline(pipeline_args or []) as pipeline:
                _build(pipeline, data, tables, sequences.aside, items.aside, quarantine.aside, tally_path)
        except Exception as error:
            raise explained(error, output.sequences) from error
        report = publish_report(tally_path, quarantine, list(tables), splitter.names)
        counts.check_rows(report, data.max_bad_row_rate)
        counts.check_splits(report, data.split)
        items.publish()
        sequences.publish()
    return report


def _pipeline(pipeline_args: list[str]) -> beam.Pipeline:
    return beam.Pipeline(options=PipelineOptions(pipeline_args))


def publish_report(tally_path: str, quarantine: Staging, tables: list[str], splits: Iterable[str]) -> IngestReport:
    """The counts that `write_broken` added up, put beside the quarantined rows, which are then in their place.

    Raises:
      TowersError: a file or column could not be used.
    """
    tally = counts.read_tally(tally_path)
    tf.io.gfile.remove(tally_path)
    counts.check_files(tally)
    report = replace(counts.to_report(tally, tables, splits), quarantine=quarantine.final)
    with tf.io.gfile.GFile(os.path.join(quarantine.aside, COUNTS_FILE), "w") as file:
        file.write(report.to_json())
    quarantine.publish()
    return report


def check_first_file(table: str, file: files.SourceFile, data: DataConfig) -> None:
    """Finds a missing column or an unreadable file before anything is started."""
    reader = readers.open_reader(file, records.parser_for(table, data, 1).columns, getattr(data, table).delimiter)
    try:
        next(iter(reader), None)
    except readers.UnreadableFileError as error:
        raise TowersError(f"{table}: {error}") from None


def _build(
    pipeline: beam.Pipeline,
    data: DataConfig,
    tables: dict[str, list[files.SourceFile]],
    sequences: str,
    items: str,
    quarantine: str,
    tally_path: str,
) -> None:
    shards = _shards(tables)
    shard_counts = {"interactions": shards.users, "users": shards.users, "items": shards.items}
    read = {
        table: (
            pipeline
            | f"{table} files" >> beam.Create(found)
            | f"Spread {table} files" >> beam.Reshuffle()
            | f"Read {table}" >> ReadTable(table, data, shard_counts[table], shards.quarantine)
        )
        for table, found in tables.items()
    }
    by_user = [read[table].blocks for table in ("interactions", "users") if table in read]
    built = grouped(pipeline, "users", by_user, shards.users) | BuildSequences(
        data, shards.items, shards.quarantine, _paths(tables, "users")
    )
    _ = built.examples | "Write sequences" >> WriteExamples(sequences, shards.users)

    by_item = [built[ITEM_COUNTS], *([read["items"].blocks] if "items" in read else [])]
    catalogue = grouped(pipeline, "items", by_item, shards.items) | BuildItems(
        data, shards.quarantine, _paths(tables, "items")
    )
    _ = catalogue.examples | "Write items" >> WriteExamples(items, shards.items)

    write_broken(pipeline, [*read.values(), built, catalogue], quarantine, shards.quarantine, tally_path)


def write_broken(
    pipeline: beam.Pipeline,
    everything: list[beam.pvalue.DoOutputsTuple],
    quarantine: str,
    quarantine_shards: int,
    tally_path: str,
) -> None:
    """Writes what transforms have quarantined and counted."""
    broken = [outputs[QUARANTINE] for outputs in everything]
    _ = grouped(pipeline, "quarantine", broken, quarantine_shards) | WriteQuarantine(quarantine, quarantine_shards)
    _ = (
        [outputs[TALLY] for outputs in everything]
        | "All tallies" >> beam.Flatten()
        | beam.CombineGlobally(counts.SumTallies())
        | beam.Map(counts.write_tally, tally_path)
    )


def grouped(pipeline: beam.Pipeline, name: str, collections: list[beam.PCollection], shards: int) -> beam.PCollection:
    """Blocks by shard; every shard is there, be it empty, so that every file of the output is."""
    every = pipeline | f"Shards of {name}" >> beam.Create([(shard, NO_BLOCK) for shard in range(shards)])
    typed = [
        collection | f"{name} blocks {i}" >> beam.Map(lambda block: block).with_output_types(tuple[int, bytes])
        for i, collection in enumerate([every, *collections])
    ]
    return typed | f"Flatten {name}" >> beam.Flatten() | f"Group {name}" >> beam.GroupByKey()


def _shards(tables: dict[str, list[files.SourceFile]]) -> _Shards:
    sizes = {table: sum(file.expanded_size for file in found) for table, found in tables.items()}
    users = blocks.shard_count(sizes["interactions"] + sizes.get("users", 0))
    # Item ids of the interactions come once a user shard at most; a share of the interactions' size bounds them.
    items = blocks.shard_count(sizes.get("items", 0) + sizes["interactions"] // 8)
    return _Shards(users, items, blocks.shard_count(sum(sizes.values()) // 4))


def _paths(tables: dict[str, list[files.SourceFile]], table: str) -> list[str]:
    return [file.path for file in tables.get(table, [])]


def explained(error: Exception, directory: str) -> Exception:
    """Workers send exceptions as text: what a person can act on becomes one line again."""
    if isinstance(error, TowersError):
        return error
    text = f"{type(error).__name__}: {error}"
    if match := _WRITING_FAILED.search(text):
        return TowersError(
            f"{directory}: ingestion could not write its output ({match[0]}). Nothing was left behind; make "
            "room or give another folder, then run it again."
        )
    if match := _KEY_ERROR.search(text):
        return TowersError(f"a worker has no key for pseudonyms: {match[1]}")
    return error
