"""Which columns of a table are read, and how their cells are converted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tfx_pipeline.ingest.cells import lists, numbers, texts

_MAX_CACHED_CATEGORIES = 10_000

Row = Sequence[Any]  # a row's cells


class Columns:
    """Collects the columns to read.

    `category`, `categories`, `text`, `rating`, `number` and `vector` add columns and return the function from a row to
    the value of these columns.

    Attributes:
      names: the columns, in the order in which rows have their cells.
      notes: what the functions corrected in cells, counted by reason.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.notes: Counter[str] = Counter()

    def add(self, name: str) -> int:
        """Adds a column. Returns the index of its cell."""
        self.names.append(name)
        return len(self.names) - 1

    def add_all(self, names: Sequence[str]) -> slice:
        """Adds several columns. Returns the indices of their cells."""
        start = len(self.names)
        self.names += names
        return slice(start, len(self.names))

    def category(self, name: str) -> Callable[[Row], bytes]:
        index = self.add(name)
        cache: dict[str, bytes] = {}  # few distinct values, many rows

        def convert(row: Row) -> bytes:
            cell = row[index]
            if type(cell) is not str:
                return texts.category(cell)
            value = cache.get(cell)
            if value is None:
                value = texts.category(cell)
                if len(cache) < _MAX_CACHED_CATEGORIES:
                    cache[cell] = value
            return value

        return convert

    def categories(self, name: str, separator: str) -> Callable[[Row], list[bytes]]:
        index = self.add(name)
        return lambda row: lists.categories(row[index], separator)

    def text(self, names: Sequence[str]) -> Callable[[Row], bytes]:
        cells, notes = self.add_all(names), self.notes
        return lambda row: texts.joined_text(row[cells], notes)

    def rating(self, name: str, missing: float | None) -> Callable[[Row], float]:
        index = self.add(name)
        return lambda row: numbers.rating(row[index], missing)

    def number(self, name: str) -> Callable[[Row], float | None]:
        index, notes = self.add(name), self.notes
        return lambda row: numbers.number_or_missing(row[index], notes)

    def vector(self, name: str, width: int, separator: str) -> Callable[[Row], list[float] | None]:
        index, notes = self.add(name), self.notes
        return lambda row: lists.vector(row[index], width, separator, notes)
