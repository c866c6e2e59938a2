"""Readers of a table's files: one module a format. See `base.Reader` for what a reader yields."""

from __future__ import annotations

from collections.abc import Sequence

from tfx_pipeline.ingest.files import SourceFile
from tfx_pipeline.ingest.readers.base import Reader, UnreadableFileError
from tfx_pipeline.ingest.readers.csv import CsvReader
from tfx_pipeline.ingest.readers.json_lines import JsonLinesReader
from tfx_pipeline.ingest.readers.parquet import ParquetReader

__all__ = ["Reader", "UnreadableFileError", "open_reader"]


def open_reader(file: SourceFile, columns: Sequence[str], delimiter: str = ",") -> Reader:
    """The reader of a file's format. The file is opened when the reader is iterated."""
    if file.format == "csv":
        return CsvReader(file, columns, delimiter)
    return {"jsonl": JsonLinesReader, "parquet": ParquetReader}[file.format](file, columns)
