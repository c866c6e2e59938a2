"""What a running step says to the person watching.

Executors run far below the runner that owns the screen; they report here and the runner decides where it goes. Without
a runner (a container on Kubeflow) lines go to the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from absl import logging

from trainer.training.progress import format_record

_on_update: Callable[[str], None] | None = None
_on_summary: Callable[[str], None] | None = None


def connect(on_update: Callable[[str], None] | None, on_summary: Callable[[str], None] | None) -> None:
    """Sends what steps report to these two; None disconnects."""
    global _on_update, _on_summary
    _on_update, _on_summary = on_update, on_summary


def update(text: str) -> None:
    """What the step is doing right now; replaces what it said before."""
    logging.info("%s", text)
    if _on_update:
        _on_update(text)


def epoch(record: dict[str, Any]) -> None:
    """An epoch's record, as the training loops give it."""
    update(format_record(record))


def summary(text: str) -> None:
    """The one line that stays when the step is done."""
    logging.info("%s", text)
    if _on_summary:
        _on_summary(text)
