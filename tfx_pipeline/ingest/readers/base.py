"""What the readers of all formats have in common."""

from __future__ import annotations

import difflib
import io
import zlib
from collections.abc import Iterator, Sequence

import pyarrow as pa

from tfx_pipeline.ingest.files import SourceFile
from trainer.errors import first_line

MAX_FIELD_LENGTH = 16 << 20  # characters; also bounds what an unclosed quote can swallow before it is noticed
MAX_LINE_LENGTH = 4 * MAX_FIELD_LENGTH
_MAX_LISTED_COLUMNS = 30


class UnreadableFileError(Exception):
    """The file as a whole cannot be used. The message says why, in one line."""


class Reader:
    """Streams the rows of one file. Subclasses implement `_rows` and `text`; a reader is iterated once.

    Each step yields the cells of the requested columns, in the order requested, as a tuple. For a row that cannot be
    read it yields the quarantine reason, a string.

    Args:
      file: the file.
      columns: the requested columns.

    Attributes:
      position: the number of the current row; data rows are counted from 1.
      columns: the file's columns, for messages.
      unseen: requested columns that no row has had so far.
    """

    def __init__(self, file: SourceFile, columns: Sequence[str]):
        self.position = 0
        self.columns: list[str] = []
        self.unseen: set[str] = set()
        self._path = file.path
        self._requested = list(columns)

    def __iter__(self) -> Iterator[tuple | str]:
        try:
            yield from self._rows()
        except (EOFError, zlib.error, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise UnreadableFileError(f"{self._path}: cannot be read ({error.strerror})") from None
            # gzip.BadGzipFile is an OSError without a number.
            raise UnreadableFileError(f"{self._path}: damaged or cut-short gzip file ({error})") from None
        except pa.ArrowException as error:
            raise UnreadableFileError(f"{self._path}: not a readable Parquet file ({first_line(error)})") from None

    def text(self) -> str:
        """The current row as it stands in the file."""
        raise NotImplementedError

    def _rows(self) -> Iterator[tuple | str]:
        raise NotImplementedError

    def _check_columns(self) -> None:
        missing = [column for column in self._requested if column not in self.columns]
        if missing:
            raise UnreadableFileError(missing_column(self._path, missing[0], self.columns))


def missing_column(path: str, column: str, available: Sequence[str]) -> str:
    """The error message for a column that the file does not have."""
    close = difflib.get_close_matches(column, available, n=1, cutoff=0.5)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    more = ", ..." if len(available) > _MAX_LISTED_COLUMNS else ""
    listed = ", ".join(available[:_MAX_LISTED_COLUMNS]) + more
    return f"{path}: no column `{column}`{hint} The file has: {listed or 'no columns'}"


def skip_byte_order_mark(binary: io.BufferedReader, path: str) -> io.BufferedReader:
    """The same stream behind a UTF-8 byte order mark. Raises UnreadableFileError if the mark is that of UTF-16."""
    beginning = binary.peek(3)[:3]
    if beginning[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UnreadableFileError(f"{path}: the file is UTF-16. Save it as UTF-8.")
    if beginning == b"\xef\xbb\xbf":
        binary.read(3)
    return binary
