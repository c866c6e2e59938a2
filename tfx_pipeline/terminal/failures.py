"""What to tell the person whose step failed."""

from __future__ import annotations

import re
from collections.abc import Iterable

from trainer.errors import TowersError, first_line

_NO_ROOM = re.compile("No space left on device|Disk quota exceeded|File too large|database or disk is full")


def explained(step: str, log: str, error: BaseException, left: str) -> TowersError:
    """One line: a cause that is theirs in its own words, any other with its type.

    Args:
      step: its name.
      log: where its output went.
      error: what it raised.
      left: what the failure has left, and so what the next try finds.
    """
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    own = next((cause for cause in chain if isinstance(cause, TowersError)), None)
    full = full_disk(chain)
    if own:
        what, remedy = str(own).rstrip("."), f"Then run the same command: {left}."
    elif full:
        what = f"could not write its output ({full})"
        remedy = f"Make room, then run the same command: {left}."
    else:
        shown = next((cause for cause in chain if isinstance(cause, (OSError, MemoryError))), error)
        what = f"{type(shown).__name__}: {first_line(shown, 300)}".rstrip(".")
        remedy = f"Read the log's end, mend the cause and run the same command: {left}."
    return TowersError(f"step {step} failed: {what}. Log: {log}. {remedy}")


def full_disk(errors: Iterable[BaseException]) -> str | None:
    """What says in one of the errors that there is no room; TensorFlow, SQLite and Beam each raise their own type."""
    return next((found[0] for error in errors if (found := _NO_ROOM.search(str(error)))), None)
