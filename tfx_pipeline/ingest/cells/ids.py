"""Ids of users and items."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from tfx_pipeline.ingest import quarantine_reasons
from tfx_pipeline.ingest.cells.texts import LARGEST_EXACT_FLOAT, encode
from tfx_pipeline.ingest.quarantine_reasons import BrokenRowError

MAX_ID_LENGTH = 1000  # characters
_CONTROL_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MAX_CACHED_IDS = 200_000


class Ids(dict):
    """`ids[text]` checks an id and returns its UTF-8 bytes, or those of its pseudonym if there is a key.

    A bounded cache: ids repeat, and checking and hashing them is the largest part of a row's cost.

    Args:
      missing: the quarantine reason of a row without an id.
      pseudonym: the function from an id to its pseudonym; None = ids stay as they are.
    """

    def __init__(self, missing: str, pseudonym: Callable[[str], str] | None = None):
        super().__init__()
        self._missing = missing
        self._pseudonym = pseudonym

    def __missing__(self, text: str) -> bytes:
        if not text or text.isspace():
            raise BrokenRowError(self._missing)
        if len(text) > MAX_ID_LENGTH:
            raise BrokenRowError(quarantine_reasons.ID_TOO_LONG)
        encoded = encode(text)
        if not text.isprintable() and _CONTROL_CHARACTER.search(text):
            raise BrokenRowError(quarantine_reasons.CONTROL_CHARACTER)
        if self._pseudonym is not None:
            encoded = self._pseudonym(text).encode("ascii")
        if len(self) >= _MAX_CACHED_IDS:
            self.clear()
        self[text] = encoded
        return encoded


def id_text(cell: Any) -> str:
    """An id as text. Integers that are stored as floats become integers: a column with gaps often holds floats."""
    if isinstance(cell, str):
        return cell
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "surrogateescape")
    if isinstance(cell, bool) or not isinstance(cell, (int, float)):
        raise BrokenRowError(quarantine_reasons.ID_NOT_SCALAR)
    if isinstance(cell, float) and (not cell.is_integer() or abs(cell) >= LARGEST_EXACT_FLOAT):
        raise BrokenRowError(quarantine_reasons.ID_NOT_SCALAR)
    return str(int(cell))
