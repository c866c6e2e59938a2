"""CSV with a header line."""

from __future__ import annotations

import csv
import functools
import io
import operator
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from tfx_pipeline.ingest import files
from tfx_pipeline.ingest.quarantine_reasons import FIELD_TOO_LONG, UNCLOSED_QUOTE, WRONG_NUMBER_OF_FIELDS
from tfx_pipeline.ingest.readers.base import (
    MAX_FIELD_LENGTH,
    MAX_LINE_LENGTH,
    Reader,
    UnreadableFileError,
    skip_byte_order_mark,
)


class CsvReader(Reader):
    """CSV with a header: quoted fields may hold delimiters and line breaks (RFC 4180).

    If a quote is not closed properly, only its own line is rejected: the lines that it ran over are read again.
    """

    def __init__(self, file: files.SourceFile, columns: Sequence[str], delimiter: str = ","):
        super().__init__(file, columns)
        self._delimiter = delimiter
        self._row_lines: list[str] = []  # the lines that the current row was read from
        self._pending: deque[str] = deque()  # lines to read again

    def text(self) -> str:
        return "".join(self._row_lines).rstrip("\r\n")

    def _rows(self) -> Iterator[tuple | str]:
        csv.field_size_limit(MAX_FIELD_LENGTH)
        with files.open_binary(self._path) as binary:
            stream = io.TextIOWrapper(
                skip_byte_order_mark(binary, self._path), encoding="utf-8", errors="surrogateescape", newline=""
            )
            try:
                self.columns = next(self._parser(stream), [])
            except csv.Error as error:
                raise UnreadableFileError(f"{self._path}: the header cannot be read ({error})") from None
            if not self.columns:
                return
            self._check_columns()
            self._row_lines.clear()
            yield from self._data_rows(stream)

    def _parser(self, stream: io.TextIOBase) -> Iterator[list[str]]:
        return csv.reader(self._lines(stream), delimiter=self._delimiter)

    def _lines(self, stream: io.TextIOBase) -> Iterator[str]:
        """Lines to read again, then lines of the stream. Each is appended to the current row's lines."""
        pending, append = self._pending, self._row_lines.append
        while pending:
            line = pending.popleft()
            append(line)
            yield line
        for line in iter(functools.partial(stream.readline, MAX_LINE_LENGTH), ""):
            if "\0" in line:  # Python 3.10's csv fails at NUL; ids may hold neither of the two
                line = line.replace("\0", "\x01")
            append(line)
            yield line
            while pending:
                line = pending.popleft()
                append(line)
                yield line

    def _data_rows(self, stream: io.TextIOBase) -> Iterator[tuple | str]:
        width = len(self.columns)
        pick = _picker([self.columns.index(column) for column in self._requested])
        row_lines = self._row_lines
        while True:
            try:
                for row in self._parser(stream):
                    if len(row_lines) > 1 and not self._is_well_quoted():
                        yield self._reject_first_line()
                    elif len(row) == width:
                        self.position += 1
                        yield pick(row)
                    elif row:  # an empty line is not a row
                        self.position += 1
                        yield WRONG_NUMBER_OF_FIELDS
                    row_lines.clear()
                if not self._pending:  # lines are pending if a quote was open to the end of the file
                    return
            except csv.Error:
                if len(row_lines) > 1:
                    yield self._reject_first_line()
                else:
                    self.position += 1
                    yield FIELD_TOO_LONG
                row_lines.clear()

    def _is_well_quoted(self) -> bool:
        try:
            return len(list(csv.reader(self._row_lines, delimiter=self._delimiter, strict=True))) == 1
        except csv.Error:
            return False

    def _reject_first_line(self) -> str:
        first, *rest = self._row_lines
        self._pending.extendleft(reversed(rest))
        self._row_lines[:] = [first]
        self.position += 1
        return UNCLOSED_QUOTE


def _picker(indices: list[int]) -> Callable[[list[str]], tuple]:
    if len(indices) == 1:  # `itemgetter` with one index returns no tuple
        index = indices[0]
        return lambda row: (row[index],)
    return operator.itemgetter(*indices)
