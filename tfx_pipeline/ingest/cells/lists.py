"""Cells with several values: categories and dense vectors."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from tfx_pipeline.ingest import quarantine_reasons
from tfx_pipeline.ingest.cells.numbers import number
from tfx_pipeline.ingest.cells.texts import as_text, category


def categories(cell: Any, separator: str) -> list[bytes]:
    """The distinct categories of a list, or of a text divided by `separator`, in order of first occurrence."""
    parts = cell if isinstance(cell, (list, tuple)) else as_text(cell).split(separator)
    return list(dict.fromkeys(filter(None, map(category, parts))))


def vector(cell: Any, width: int, separator: str, notes: Counter) -> list[float] | None:
    """A dense vector: a list, a JSON list, or numbers divided by `separator`.

    Returns: `width` numbers; None for an empty cell, and with a note for a cell that is not `width` numbers.
    """
    if isinstance(cell, str):
        cell = cell.strip()
        try:
            cell = json.loads(cell) if cell.startswith("[") else [part for part in cell.split(separator) if part]
        except ValueError:
            cell = [""]
    if cell is None or cell == []:
        return None
    try:
        numbers = [number(part) for part in cell] if isinstance(cell, (list, tuple)) else []
    except ValueError:
        numbers = []
    if len(numbers) != width or None in numbers:
        notes[quarantine_reasons.UNPARSABLE_VECTOR] += 1
        return None
    return numbers  # type: ignore[return-value]
