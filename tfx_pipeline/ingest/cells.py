"""Cells of any table format to what the pipeline keeps: UTF-8 bytes, floats, lists."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tfx_pipeline.ingest import quarantine_reasons
from tfx_pipeline.ingest.quarantine_reasons import BrokenRowError

LONGEST_ID = 1000  # characters
LONGEST_TEXT = 100_000  # characters; an encoder reads the first few hundred words at most
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LARGEST_WHOLE_FLOAT = 2**53
_CACHED_IDS = 200_000


class Ids(dict):
    """`ids[text]` checks an id once and gives its UTF-8 bytes, those of its pseudonym where there is a key.

    A bounded cache: ids repeat, checking and hashing them again is most of a row's cost.
    """

    def __init__(self, missing: str, pseudonym: Callable[[str], str] | None = None):
        super().__init__()
        self._missing = missing
        self._pseudonym = pseudonym

    def __missing__(self, text: str) -> bytes:
        if not text or text.isspace():
            raise BrokenRowError(self._missing)
        if len(text) > LONGEST_ID:
            raise BrokenRowError(quarantine_reasons.ID_TOO_LONG)
        encoded = encode(text)
        if not text.isprintable() and _CONTROL.search(text):
            raise BrokenRowError(quarantine_reasons.CONTROL_CHARACTER)
        if self._pseudonym is not None:
            encoded = self._pseudonym(text).encode("ascii")
        if len(self) >= _CACHED_IDS:
            self.clear()
        self[text] = encoded
        return encoded


def id_text(cell: Any) -> str:
    """An id as text. Whole floats lose their point: a column with gaps makes floats of integers."""
    if isinstance(cell, str):
        return cell
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "surrogateescape")
    if isinstance(cell, bool) or not isinstance(cell, (int, float)):
        raise BrokenRowError(quarantine_reasons.ID_NOT_SCALAR)
    if isinstance(cell, float) and (not cell.is_integer() or abs(cell) >= _LARGEST_WHOLE_FLOAT):
        raise BrokenRowError(quarantine_reasons.ID_NOT_SCALAR)
    return str(int(cell))


def encode(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # bytes that were not UTF-8 came in as surrogates
        raise BrokenRowError(quarantine_reasons.INVALID_UTF8) from None


def as_text(cell: Any) -> str:
    """Any cell as text; lists are joined with spaces."""
    if type(cell) is str:
        return cell
    if cell is None:
        return ""
    if isinstance(cell, float):
        if math.isnan(cell):
            return ""
        return str(int(cell)) if cell.is_integer() and abs(cell) < _LARGEST_WHOLE_FLOAT else repr(cell)
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "surrogateescape")
    if isinstance(cell, (list, tuple)):
        return " ".join(filter(None, map(as_text, cell)))
    if isinstance(cell, dict):
        return json.dumps(cell, ensure_ascii=False)
    return str(cell)


def category(cell: Any) -> bytes:
    return encode(as_text(cell).strip())


def joined_text(cells: Sequence[Any], notes: Counter) -> bytes:
    """Several text cells as one, a line each, empty ones skipped; far too long ones are cut."""
    if len(cells) == 1:
        text = as_text(cells[0]).strip()
        if not text:
            return b""
    else:
        text = "\n".join([text for cell in cells if (text := as_text(cell).strip())])
    if len(text) > LONGEST_TEXT:
        notes[quarantine_reasons.TEXT_CUT] += 1
        text = text[:LONGEST_TEXT]
    return encode(text)


def number(cell: Any) -> float | None:
    """A finite float, or None for an empty cell. Raises ValueError for anything else."""
    if type(cell) is str:
        cell = cell.strip()
        if not cell:
            return None
        if "_" in cell:
            raise ValueError("not a number")
    elif cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    elif isinstance(cell, (bool, list, dict, bytes)):
        raise ValueError("not a number")
    try:
        value = float(cell)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("not a number") from None
    if not math.isfinite(value) or abs(value) > 3.4e38:  # beyond float32
        raise ValueError("not a number")
    return value


def number_or_missing(cell: Any, notes: Counter) -> float | None:
    try:
        return number(cell)
    except ValueError:
        notes[quarantine_reasons.UNPARSABLE_NUMBER] += 1
        return None


def rating(cell: Any, missing: float | None) -> float:
    """A rating, NaN where there is none."""
    try:
        value = number(cell)
    except ValueError:
        raise BrokenRowError(quarantine_reasons.UNPARSABLE_RATING) from None
    return math.nan if value is None or value == missing else value


def values(cell: Any, separator: str) -> list[bytes]:
    """The distinct values of a multi-valued cell, in their order."""
    parts = cell if isinstance(cell, (list, tuple)) else as_text(cell).split(separator)
    return list(dict.fromkeys(filter(None, map(category, parts))))


def vector(cell: Any, width: int, separator: str, notes: Counter) -> list[float] | None:
    """A dense vector: a list, a JSON list, or numbers divided by the separator. None if it is none of width `width`."""
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
