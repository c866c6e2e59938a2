"""The quarantine: rows that cannot be used, written as JSON lines.

A line: `{"table": ..., "file": ..., "position": row number from 1, "reason": ..., "row": the row as text}`.
"""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import tensorflow as tf

from tfx_pipeline.ingest import blocks, records
from tfx_pipeline.ingest.files import SourceFile
from tfx_pipeline.ingest.shards import shard_of
from trainer.files import atomic_remote_file

MAX_ROW_LENGTH = 10_000  # characters; file and position lead to the rest
_POSITIONS_PER_SHARD = 4096  # rows next to each other go to the same file
_FIELDS = ("table", "file", "position", "reason", "row")


class Quarantine:
    """Collects broken rows of one table as blocks for `WriteQuarantine`.

    Args:
      table: the table's name.
      shards: number of quarantine shards.
      withhold_rows: leaves out the rows' text, because it holds ids and the configuration asks for pseudonyms. File and
        position still lead to the row.

    Attributes:
      count: number of broken rows.
      by_reason: number of broken rows of each reason.
    """

    def __init__(self, table: str, shards: int, withhold_rows: bool):
        self.count = 0
        self.by_reason: Counter[str] = Counter()
        self._table = table
        self._shards = shards
        self._withhold_rows = withhold_rows
        self._buffer = blocks.BlockBuffer(blocks.QUARANTINED_ROWS, shards)

    def add(self, file: SourceFile, position: int, reason: str, row: str) -> bool:
        """Adds a row, given as text. Returns whether the buffer is full and `flush` is due."""
        self.count += 1
        self.by_reason[reason] += 1
        row = "" if self._withhold_rows else _readable(row)
        key = f"{self._table}/{file.index}/{position // _POSITIONS_PER_SHARD}".encode()
        quarantined = (self._table, file.index, position, reason, file.path, row)
        return self._buffer.add(shard_of(key, self._shards), quarantined, len(row))

    def add_records(self, files: Sequence[SourceFile], user_or_item_records: list[tuple], reason: str) -> None:
        """Adds rows of users or items of which only the parsed records are left."""
        for record in user_or_item_records:
            index, position = records.place_of(record[1])
            self.add(files[index], position, reason, json.dumps(record, ensure_ascii=False, default=_decode))

    def flush(self) -> Iterator[tuple[int, bytes]]:
        """Empties the buffer: (quarantine shard, block)."""
        return self._buffer.flush()


def _decode(value: object) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _readable(row: str) -> str:
    """The row's beginning as valid UTF-8; surrogates, which stand for invalid bytes, become `\\xNN` or `\\uNNNN`."""
    if len(row) > MAX_ROW_LENGTH:
        row = row[:MAX_ROW_LENGTH] + "…"
    try:
        encoded = row.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # surrogates that do not stand for bytes
        encoded = row.encode("utf-8", "backslashreplace")
    return encoded.decode("utf-8", "backslashreplace")


class WriteQuarantine(beam.PTransform):
    """Writes (shard, blocks) to `quarantine-*.jsonl.gz`; a file's rows are sorted by table, file and position."""

    def __init__(self, directory: str, shards: int):
        super().__init__()
        self._directory = directory
        self._shards = shards

    def expand(self, grouped: beam.PCollection) -> beam.PCollection:
        return grouped | beam.Map(_write, self._directory, self._shards)


def _write(element: tuple[int, Iterable[bytes]], directory: str, shards: int) -> str:
    shard, grouped = element
    quarantined = sorted(row for _, rows in blocks.unpack(grouped) for row in rows)
    path = os.path.join(directory, f"quarantine-{shard:05d}-of-{shards:05d}.jsonl.gz")
    with (
        atomic_remote_file(path) as temporary,
        tf.io.gfile.GFile(temporary, "wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as compressed,  # no name, no time: same rows, same bytes
    ):
        for table, _, position, reason, source, row in quarantined:
            line = json.dumps(
                dict(zip(_FIELDS, (table, source, position, reason, row), strict=True)), ensure_ascii=False
            )
            compressed.write(line.encode("utf-8") + b"\n")
    return path
