"""The steps of every ingestion: find the files, run one Beam pipeline, check the counts, publish the outputs."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence

import apache_beam as beam
import tensorflow as tf

from tfx_pipeline.ingest import checks, files, readers, tally
from tfx_pipeline.ingest.counts import COUNTS_FILE, IngestReport
from tfx_pipeline.ingest.files import SourceFile
from tfx_pipeline.ingest.parsers import parser_for
from tfx_pipeline.ingest.pseudonyms import checked_pseudonymiser
from tfx_pipeline.ingest.table_pipeline import TablePipeline
from trainer.config import DataConfig
from trainer.errors import TowersError
from trainer.files import atomic_remote_directory

_TALLY_FILE = "tally.json"
_WRITING_FAILED = re.compile(
    "No space left on device|Disk quota exceeded|File too large|Read-only file system|Permission denied"
    "|Input/output error"
)
_KEY_ERROR = re.compile(r"PseudonymKeyError: ([^\n]*)")


class IngestJob:
    """One ingestion of some of a dataset's tables.

    Args:
      data: the dataset's configuration.
      data_root: directory that its relative paths start from.
      tables: names of the tables to read; the configuration has them.

    Raises:
      UsageError: the key for pseudonyms cannot be read.
      TowersError: a file is missing or cannot be read, or lacks a column.
    """

    def __init__(self, data: DataConfig, data_root: str, tables: Sequence[str]):
        self._data = data
        checked_pseudonymiser(data.pseudonymise)
        self._source_files = {table: files.find(table, getattr(data, table), data_root) for table in tables}
        for table, source_files in self._source_files.items():
            _check_first_file(table, source_files[0], data)

    def run(
        self,
        outputs: Sequence[str],
        quarantine: str,
        build: Callable[[TablePipeline, Sequence[str]], None],
        make_pipeline: Callable[[], beam.Pipeline],
        splits: Sequence[str] = (),
    ) -> IngestReport:
        """Runs the pipeline. `outputs` appear complete or not at all.

        The quarantine appears also if the check of its rows fails, so that the rows can be read.

        Args:
          outputs: directories to write; each is absent or empty before. They appear in reverse order.
          quarantine: directory for quarantined rows and `counts.json`; absent or empty before.
          build: adds the transforms that write into the directories passed to it, one for each of `outputs`.
          make_pipeline: makes the Beam pipeline.
          splits: names of the splits that may not be empty.

        Raises:
          TowersError: a file or column cannot be used, a table or split is empty, too many rows are broken, an output
            directory is in use or the disk is full.
        """
        with contextlib.ExitStack() as stack:
            directories = [stack.enter_context(atomic_remote_directory(path)) for path in outputs]
            with atomic_remote_directory(quarantine) as quarantine_directory:
                tally_path = os.path.join(quarantine_directory, _TALLY_FILE)
                try:
                    with make_pipeline() as pipeline:
                        tables = TablePipeline(pipeline, self._data, self._source_files)
                        build(tables, directories)
                        tables.write_quarantine(quarantine_directory, tally_path)
                except Exception as error:
                    raise _explain(error, outputs[0]) from error
                counts = _take_tally(tally_path)
                checks.check_files(counts)
                report = IngestReport.from_tally(counts, list(self._source_files), splits, quarantine.rstrip("/"))
                with tf.io.gfile.GFile(os.path.join(quarantine_directory, COUNTS_FILE), "w") as file:
                    file.write(report.to_json())
            checks.check_rows(report, self._data.max_bad_row_rate)
            checks.check_splits(report, self._data.split)
        return report


def _check_first_file(table: str, file: SourceFile, data: DataConfig) -> None:
    """Reports a missing column or an unreadable file before a pipeline is started."""
    reader = readers.open_reader(file, parser_for(table, data, 1).columns, getattr(data, table).delimiter)
    try:
        next(iter(reader), None)
    except readers.UnreadableFileError as error:
        raise TowersError(f"{table}: {error}") from None


def _take_tally(path: str) -> Counter:
    counts = tally.read_tally(path)
    tf.io.gfile.remove(path)
    return counts


def _explain(error: Exception, directory: str) -> Exception:
    """A TowersError for causes that the user can remove; otherwise the error itself.

    The message is searched, because Beam's workers send exceptions as text.
    """
    if isinstance(error, TowersError):
        return error
    text = f"{type(error).__name__}: {error}"
    if match := _WRITING_FAILED.search(text):
        return TowersError(
            f"{directory}: ingestion could not write its output ({match[0]}). Nothing was left behind; make "
            "room or give another directory, then run it again."
        )
    if match := _KEY_ERROR.search(text):
        return TowersError(f"a worker has no key for pseudonyms: {match[1]}")
    return error
