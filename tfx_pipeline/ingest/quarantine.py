"""Rows that cannot be used: collected, shuffled, written as JSON lines.

A line: `{"table": ..., "file": ..., "position": row number from 1, "reason": ..., "row": the row as text}`.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator

import apache_beam as beam
import tensorflow as tf

from tfx_pipeline.ingest import blocks
from tfx_pipeline.ingest.tags import QUARANTINE_BLOCK
from trainer.files import atomic_remote_file

LONGEST_ROW = 10_000  # characters; file and position lead to the rest
_POSITIONS_PER_SHARD = 4096  # neighbours stay together
_FIELDS = ("table", "file", "position", "reason", "row")


class Quarantine:
    """Broken rows of one table, as blocks for `WriteQuarantine`.

    With `withhold_rows` (ids are pseudonymised) the row's text is left out, since it holds the ids; file and position
    still lead to it.
    """

    def __init__(self, table: str, shards: int, withhold_rows: bool):
        self.count = 0
        self.by_reason: Counter[str] = Counter()
        self._table = table
        self._shards = shards
        self._withhold_rows = withhold_rows
        self._buffer = blocks.BlockBuffer(QUARANTINE_BLOCK, shards)

    def add(self, file: str, file_index: int, position: int, reason: str, row: str) -> bool:
        """Returns whether it is time to `flush`."""
        self.count += 1
        self.by_reason[reason] += 1
        row = "" if self._withhold_rows else _readable(row)
        key = f"{self._table}/{file_index}/{position // _POSITIONS_PER_SHARD}".encode()
        record = (self._table, file_index, position, reason, file, row)
        return self._buffer.add(zlib.crc32(key) % self._shards, record, len(row))

    def add_record(self, file: str, file_index: int, position: int, reason: str, record: tuple) -> bool:
        """Adds a row of which only the parsed record is left."""
        return self.add(file, file_index, position, reason, json.dumps(record, ensure_ascii=False, default=_decode))

    def flush(self) -> Iterator[tuple[int, bytes]]:
        return self._buffer.flush()


def _decode(value: object) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _readable(row: str) -> str:
    if len(row) > LONGEST_ROW:
        row = row[:LONGEST_ROW] + "…"
    # Surrogates stand for bytes that were not UTF-8 (or are themselves not UTF-8): shown as \\xNN or \\uNNNN.
    return row.encode("utf-8", "surrogateescape" if _escaped_bytes_only(row) else "backslashreplace").decode(
        "utf-8", "backslashreplace"
    )


def _escaped_bytes_only(row: str) -> bool:
    try:
        row.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


class WriteQuarantine(beam.PTransform):
    """(shard, blocks) to `quarantine-*.jsonl.gz`, sorted by table, file and position within each file."""

    def __init__(self, directory: str, shards: int):
        super().__init__()
        self._directory = directory
        self._shards = shards

    def expand(self, grouped: beam.PCollection) -> beam.PCollection:
        return grouped | beam.Map(_write, self._directory, self._shards)


def _write(element: tuple[int, Iterable[bytes]], directory: str, shards: int) -> str:
    shard, grouped = element
    records = [record for _, rows in blocks.unpack(grouped) for record in rows]
    records.sort()
    path = os.path.join(directory, f"quarantine-{shard:05d}-of-{shards:05d}.jsonl.gz")
    with (
        atomic_remote_file(path) as temporary,
        tf.io.gfile.GFile(temporary, "wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as compressed,  # no name, no time: same rows, same bytes
    ):
        for table, _, position, reason, source, row in records:
            line = json.dumps(
                dict(zip(_FIELDS, (table, source, position, reason, row), strict=True)), ensure_ascii=False
            )
            compressed.write(line.encode("utf-8") + b"\n")
    return path
