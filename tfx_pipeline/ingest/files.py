"""The files of a table."""

from __future__ import annotations

import gzip
import io
import os
from dataclasses import dataclass
from typing import Any, cast

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from trainer.config import DataConfig, TableConfig
from trainer.errors import TowersError

TABLES = ("interactions", "users", "items")
FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_GZIP_MAGIC = b"\x1f\x8b"
# Bytes of text for a stored byte, roughly: enough to choose the number of shards.
_EXPANSION = {"gzip": 5, "parquet": 8}


@dataclass(frozen=True)
class SourceFile:
    """One file of a table."""

    table: str
    path: str
    index: int  # among the table's files, which are ordered by path
    format: str
    size: int  # bytes, as stored

    @property
    def expanded_size(self) -> int:
        """An estimate of the bytes that its rows take as text."""
        if self.format == "parquet":
            return self.size * _EXPANSION["parquet"]
        return self.size * _EXPANSION["gzip"] if _without_gzip(self.path) != self.path else self.size


def configured_tables(data: DataConfig) -> list[str]:
    """The tables that a configuration has."""
    return [table for table in TABLES if getattr(data, table) is not None]


def find(table: str, config: TableConfig, data_root: str) -> list[SourceFile]:
    """The files of a table: `config.path`, relative to `data_root`, is a file, a glob or a directory.

    Raises:
      TowersError: no file matches, a directory has no file with a known suffix, or a file's format is unknown.
    """
    is_absolute = os.path.isabs(config.path) or "://" in config.path
    pattern = config.path if is_absolute or not data_root else FileSystems.join(data_root, config.path)
    try:
        matches = _match(pattern)
        is_directory = not matches or (len(matches) == 1 and os.path.isdir(pattern))
        if is_directory:
            files = _match(FileSystems.join(pattern, "*"))
            matches = [(path, size) for path, size in files if _is_data(path, config.format)]
    except (BeamIOError, OSError, ValueError) as error:
        raise TowersError(f"{table}: cannot look up {pattern}: {' '.join(str(error).split())}") from None
    if not matches:
        if is_directory and files:
            known = ", ".join(FORMATS)
            raise TowersError(f"{table}: no file in {pattern} has a known suffix ({known}, each plain or .gz)")
        raise TowersError(f"{table}: no file matches {pattern}. Check `data.{table}.path` and --data.")
    return [
        SourceFile(table, path, index, config.format or _format(table, path), size)
        for index, (path, size) in enumerate(sorted(matches))
    ]


def _format(table: str, path: str) -> str:
    format = FORMATS.get(_suffix(path))
    if format is None:
        raise TowersError(
            f"{table}: cannot tell the format of {path} from its suffix. "
            f"Set `data.{table}.format` to csv, jsonl or parquet."
        )
    return format


def open_binary(path: str) -> io.BufferedReader:
    """Opens a file for reading; it is decompressed if its first bytes are those of gzip."""
    raw: Any = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    buffered = raw if hasattr(raw, "peek") else io.BufferedReader(raw)
    if buffered.peek(2)[:2] == _GZIP_MAGIC:
        return io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=buffered)), 1 << 18)
    return buffered


def _match(pattern: str) -> list[tuple[str, int]]:
    """(path, size) of the files that match a glob; directories are left out."""
    results = FileSystems.match([pattern])[0].metadata_list
    return [(result.path, result.size_in_bytes) for result in results if not os.path.isdir(result.path)]


def _is_data(path: str, format: str | None) -> bool:
    """Whether a directory's file belongs to the table. Hidden files and files such as `_SUCCESS` do not."""
    name = os.path.basename(path)
    known = FORMATS.get(_suffix(path))
    return not name.startswith((".", "_")) and known is not None and format in (None, known)


def _suffix(path: str) -> str:
    return os.path.splitext(_without_gzip(path))[1].lower()


def _without_gzip(path: str) -> str:
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in (".gz", ".gzip") else path
