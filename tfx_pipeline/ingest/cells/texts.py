"""Texts and categories."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tfx_pipeline.ingest import quarantine_reasons
from tfx_pipeline.ingest.quarantine_reasons import BrokenRowError

MAX_TEXT_LENGTH = 100_000  # characters; an encoder reads the first few hundred words at most
LARGEST_EXACT_FLOAT = 2**53  # from here on, a float no longer holds every integer


def encode(text: str) -> bytes:
    """UTF-8 bytes. Raises BrokenRowError if the text was read from bytes that are not UTF-8."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # readers decode invalid bytes to surrogates
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
        return str(int(cell)) if cell.is_integer() and abs(cell) < LARGEST_EXACT_FLOAT else repr(cell)
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
    """A category without surrounding white space; empty = missing."""
    return encode(as_text(cell).strip())


def joined_text(cells: Sequence[Any], notes: Counter) -> bytes:
    """Several text cells as one text, a line each. Empty cells are skipped; a text that is too long is cut."""
    if len(cells) == 1:
        text = as_text(cells[0]).strip()
        if not text:
            return b""
    else:
        text = "\n".join([text for cell in cells if (text := as_text(cell).strip())])
    if len(text) > MAX_TEXT_LENGTH:
        notes[quarantine_reasons.TEXT_CUT] += 1
        text = text[:MAX_TEXT_LENGTH]
    return encode(text)
