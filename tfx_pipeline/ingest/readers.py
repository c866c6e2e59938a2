"""Rows of one CSV, JSON lines or Parquet file, streamed, with the columns that are wanted in the order wanted.

A reader is iterated once. Each step gives the wanted cells as a tuple, or the reason (a string) why a row cannot be
read; `position` is then the row's number (data rows, from 1) and `text()` the row as it stands in the file.
"""

from __future__ import annotations

import csv
import difflib
import functools
import io
import json
import operator
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tfx_pipeline.ingest import files, times
from tfx_pipeline.ingest.quarantine_reasons import (
    FIELD_TOO_LONG,
    INVALID_JSON,
    INVALID_UTF8,
    UNCLOSED_QUOTE,
    WRONG_NUMBER_OF_FIELDS,
)
from trainer.errors import first_line

LONGEST_FIELD = 16 << 20  # characters; also bounds what an unclosed quote can swallow before it is noticed
_LONGEST_LINE = 4 * LONGEST_FIELD
_BATCH_ROWS = 8192


class UnreadableFileError(Exception):
    """The file as a whole cannot be used; the message says why, in one line."""


class Reader:
    """The common part of the three readers."""

    def __init__(self, file: files.SourceFile, columns: Sequence[str]):
        self.position = 0
        self.unseen: set[str] = set()  # wanted columns that no row has had so far
        self.columns: list[str] = []  # the file's columns, for messages
        self._file = file
        self._wanted = list(columns)

    def __iter__(self) -> Iterator[tuple | str]:
        try:
            yield from self._rows()
        except (EOFError, zlib.error, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise UnreadableFileError(f"{self._file.path}: cannot be read ({error.strerror})") from None
            # gzip.BadGzipFile is an OSError without a number.
            raise UnreadableFileError(f"{self._file.path}: damaged or cut-short gzip file ({error})") from None
        except pa.ArrowException as error:
            raise UnreadableFileError(f"{self._file.path}: not a readable Parquet file ({first_line(error)})") from None

    def text(self) -> str:
        raise NotImplementedError

    def _rows(self) -> Iterator[tuple | str]:
        raise NotImplementedError

    def _check_columns(self) -> None:
        missing = [column for column in self._wanted if column not in self.columns]
        if missing:
            raise UnreadableFileError(missing_column(self._file.path, missing[0], self.columns))


def open_reader(file: files.SourceFile, columns: Sequence[str], delimiter: str = ",") -> Reader:
    """The reader for a file's format. Nothing is opened before it is iterated."""
    if file.format == "csv":
        return CsvReader(file, columns, delimiter)
    return {"jsonl": JsonLinesReader, "parquet": ParquetReader}[file.format](file, columns)


def missing_column(path: str, column: str, available: Sequence[str]) -> str:
    """The one-line message for a column that is not there."""
    close = difflib.get_close_matches(column, available, n=1, cutoff=0.5)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    listed = ", ".join(available[:30]) + (", ..." if len(available) > 30 else "")
    return f"{path}: no column `{column}`{hint} The file has: {listed or 'no columns'}"


class CsvReader(Reader):
    """CSV with a header: quoted fields may hold delimiters and line breaks (RFC 4180).

    A quote that is not closed properly costs its own line only: the lines it swallowed are read again.
    """

    def __init__(self, file: files.SourceFile, columns: Sequence[str], delimiter: str = ","):
        super().__init__(file, columns)
        self._delimiter = delimiter
        self._record: list[str] = []  # the lines that the current record was read from
        self._again: deque[str] = deque()  # lines to be read once more

    def text(self) -> str:
        return "".join(self._record).rstrip("\r\n")

    def _lines(self, stream: io.TextIOBase) -> Iterator[str]:
        again, keep = self._again, self._record.append
        while again:
            line = again.popleft()
            keep(line)
            yield line
        for line in iter(functools.partial(stream.readline, _LONGEST_LINE), ""):
            if "\0" in line:  # this csv module stops at NUL; any other control character is treated alike
                line = line.replace("\0", "\x01")
            keep(line)
            yield line
            while again:
                line = again.popleft()
                keep(line)
                yield line

    def _rows(self) -> Iterator[tuple | str]:
        csv.field_size_limit(LONGEST_FIELD)
        with files.open_binary(self._file.path) as binary:
            stream = io.TextIOWrapper(
                _after_byte_order_mark(binary, self._file.path), encoding="utf-8", errors="surrogateescape", newline=""
            )
            try:
                self.columns = next(self._reader(stream), [])
            except csv.Error as error:
                raise UnreadableFileError(f"{self._file.path}: the header cannot be read ({error})") from None
            if not self.columns:
                return
            self._check_columns()
            self._record.clear()
            yield from self._body(stream)

    def _reader(self, stream: io.TextIOBase) -> Iterator[list[str]]:
        return csv.reader(self._lines(stream), delimiter=self._delimiter)

    def _body(self, stream: io.TextIOBase) -> Iterator[tuple | str]:
        width = len(self.columns)
        pick = _picker([self.columns.index(column) for column in self._wanted])
        record = self._record
        while True:
            try:
                for row in self._reader(stream):
                    if len(record) > 1 and not self._is_well_quoted():
                        yield self._reject_first_line()
                    elif len(row) == width:
                        self.position += 1
                        yield pick(row)
                    elif row:  # an empty line is no row
                        self.position += 1
                        yield WRONG_NUMBER_OF_FIELDS
                    record.clear()
                if not self._again:  # a quote may have been open to the end of the file
                    return
            except csv.Error:
                if len(record) > 1:
                    yield self._reject_first_line()
                else:
                    self.position += 1
                    yield FIELD_TOO_LONG
                record.clear()

    def _is_well_quoted(self) -> bool:
        try:
            return len(list(csv.reader(self._record, delimiter=self._delimiter, strict=True))) == 1
        except csv.Error:
            return False

    def _reject_first_line(self) -> str:
        first, *rest = self._record
        self._again.extendleft(reversed(rest))
        self._record[:] = [first]
        self.position += 1
        return UNCLOSED_QUOTE


class JsonLinesReader(Reader):
    """One JSON object a line. A key that a row lacks is a missing cell."""

    _line = b""

    def text(self) -> str:
        return self._line.decode("utf-8", "backslashreplace").rstrip("\r\n")

    def _rows(self) -> Iterator[tuple | str]:
        self.unseen = set(self._wanted)
        wanted = self._wanted
        with files.open_binary(self._file.path) as binary:
            stream = _after_byte_order_mark(binary, self._file.path)
            for line in iter(functools.partial(stream.readline, _LONGEST_LINE), b""):
                if line.isspace():
                    continue
                self._line = line
                self.position += 1
                row = self._parse(line)
                if isinstance(row, str):
                    yield row
                    continue
                if self.unseen:
                    self.unseen -= row.keys()
                    self.columns = self.columns or list(row)
                get = row.get
                yield tuple([get(column) for column in wanted])

    @staticmethod
    def _parse(line: bytes) -> dict[str, Any] | str:
        try:
            row = orjson.loads(line)
        except ValueError:
            try:
                row = json.loads(line.decode("utf-8"))  # takes NaN, which pandas writes
            except UnicodeDecodeError:
                return INVALID_UTF8
            except (ValueError, RecursionError):
                return INVALID_JSON
        return row if isinstance(row, dict) else INVALID_JSON


class ParquetReader(Reader):
    """Parquet, a few thousand rows at a time, only the wanted columns."""

    _row: tuple = ()

    def text(self) -> str:
        cells = dict(zip(self._wanted, self._row, strict=True))
        return json.dumps(cells, ensure_ascii=False, default=str)

    def _rows(self) -> Iterator[tuple | str]:
        with files.open_binary(self._file.path) as binary:
            parquet = pq.ParquetFile(binary)
            self.columns = parquet.schema_arrow.names
            self._check_columns()
            for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=sorted(set(self._wanted))):
                cells = [_to_list(batch.column(batch.schema.get_field_index(column))) for column in self._wanted]
                for row in zip(*cells, strict=True):
                    self.position += 1
                    self._row = row
                    yield row


def _to_list(column: pa.Array) -> list:
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        microseconds = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).to_pylist()
        return [None if value is None else times.Microseconds(value) for value in microseconds]
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        cells = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()).to_pylist()
        return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in cells]


def _picker(indices: list[int]) -> Callable[[list[str]], tuple]:
    if len(indices) == 1:
        index = indices[0]
        return lambda row: (row[index],)
    return operator.itemgetter(*indices)


def _after_byte_order_mark(binary: io.BufferedReader, path: str) -> io.BufferedReader:
    start = binary.peek(3)[:3]
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UnreadableFileError(f"{path}: the file is UTF-16. Save it as UTF-8.")
    if start == b"\xef\xbb\xbf":
        binary.read(3)
    return binary
