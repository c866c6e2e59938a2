"""JSON lines."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import orjson

from tfx_pipeline.ingest import files
from tfx_pipeline.ingest.quarantine_reasons import INVALID_JSON, INVALID_UTF8
from tfx_pipeline.ingest.readers.base import MAX_LINE_LENGTH, Reader, skip_byte_order_mark


class JsonLinesReader(Reader):
    """One JSON object a line. A key that a row does not have is a missing cell."""

    _line = b""

    def text(self) -> str:
        return self._line.decode("utf-8", "backslashreplace").rstrip("\r\n")

    def _rows(self) -> Iterator[tuple | str]:
        requested = self._requested
        self.unseen = set(requested)
        with files.open_binary(self._path) as binary:
            stream = skip_byte_order_mark(binary, self._path)
            for line in iter(functools.partial(stream.readline, MAX_LINE_LENGTH), b""):
                if line.isspace():
                    continue
                self._line = line
                self.position += 1
                row = _parse(line)
                if isinstance(row, str):
                    yield row
                    continue
                if self.unseen:
                    self.unseen -= row.keys()
                    self.columns = self.columns or list(row)
                get = row.get
                yield tuple([get(column) for column in requested])


def _parse(line: bytes) -> dict[str, Any] | str:
    """The object, or the quarantine reason."""
    try:
        row = orjson.loads(line)
    except ValueError:
        try:
            row = json.loads(line.decode("utf-8"))  # accepts NaN, which pandas writes
        except UnicodeDecodeError:
            return INVALID_UTF8
        except (ValueError, RecursionError):
            return INVALID_JSON
    return row if isinstance(row, dict) else INVALID_JSON
