"""Error messages of failed steps."""

from __future__ import annotations

import re
from collections.abc import Iterable

from trainer.errors import TowersError, first_line

_FULL_DISK = re.compile("No space left on device|Disk quota exceeded|File too large|database or disk is full")


def step_error(step: str, log: str, error: BaseException, remains: str) -> TowersError:
    """One line for a failed step: what failed, where its log is, and what to do.

    If a TowersError is among the error and its causes, its message is used as it is. Any other cause is named with its
    type.

    Args:
      step: the step's name.
      log: path of the file that its output went to.
      error: the exception that it raised.
      remains: what is kept after the failure, as the end of the message: "finished steps are kept".
    """
    causes = _causes(error)
    own = next((cause for cause in causes if isinstance(cause, TowersError)), None)
    full_disk = full_disk_message(causes)
    if own:
        problem, remedy = str(own).rstrip("."), f"Then run the same command: {remains}."
    elif full_disk:
        problem = f"could not write its output ({full_disk})"
        remedy = f"Make room, then run the same command: {remains}."
    else:
        cause = next((cause for cause in causes if isinstance(cause, (OSError, MemoryError))), error)
        problem = f"{type(cause).__name__}: {first_line(cause, 300)}".rstrip(".")
        remedy = f"Read the log's end, remove the cause and run the same command: {remains}."
    return TowersError(f"step {step} failed: {problem}. Log: {log}. {remedy}")


def _causes(error: BaseException) -> list[BaseException]:
    """The error, its cause, that one's cause and so on."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes


def full_disk_message(errors: Iterable[BaseException]) -> str | None:
    """The words of the first error that reports a full disk. TensorFlow, SQLite and Beam each have their own type."""
    return next((match[0] for error in errors if (match := _FULL_DISK.search(str(error)))), None)
