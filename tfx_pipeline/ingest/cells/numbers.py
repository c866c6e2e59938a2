"""Numbers and ratings."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from tfx_pipeline.ingest import quarantine_reasons
from tfx_pipeline.ingest.quarantine_reasons import BrokenRowError

_MAX_FLOAT32 = 3.4e38


def number(cell: Any) -> float | None:
    """A finite number within the range of float32, or None for an empty cell. Raises ValueError for anything else."""
    if type(cell) is str:
        cell = cell.strip()
        if not cell:
            return None
        if "_" in cell:  # Python's digit groups ("1_000"): no table means them
            raise ValueError("not a number")
    elif cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    elif isinstance(cell, (bool, list, dict, bytes)):
        raise ValueError("not a number")
    try:
        value = float(cell)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("not a number") from None
    if not math.isfinite(value) or abs(value) > _MAX_FLOAT32:
        raise ValueError("not a number")
    return value


def number_or_missing(cell: Any, notes: Counter) -> float | None:
    """As `number`, but None and a note where the cell is not a number."""
    try:
        return number(cell)
    except ValueError:
        notes[quarantine_reasons.UNPARSABLE_NUMBER] += 1
        return None


def rating(cell: Any, missing: float | None) -> float:
    """A rating; NaN for an empty cell and for the number `missing`. Raises BrokenRowError if it is not a number."""
    try:
        value = number(cell)
    except ValueError:
        raise BrokenRowError(quarantine_reasons.UNPARSABLE_RATING) from None
    return math.nan if value is None or value == missing else value
