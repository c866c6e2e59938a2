"""Progress of the running step.

TFX calls executors without access to the runner's screen. They report here, and the runner connects the screen.
Without a runner, as in a container on Kubeflow, reports go to the log only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from absl import logging

from trainer.training.progress import format_record

_on_update: Callable[[str], None] | None = None
_on_summary: Callable[[str], None] | None = None


def connect(on_update: Callable[[str], None] | None, on_summary: Callable[[str], None] | None) -> None:
    """Sets the functions that are called with each report, in addition to the log; None disconnects."""
    global _on_update, _on_summary
    _on_update, _on_summary = on_update, on_summary


def update(text: str) -> None:
    """Reports what the step is doing. The screen replaces the previous report."""
    logging.info("%s", text)
    if _on_update:
        _on_update(text)


def epoch(record: dict[str, Any]) -> None:
    """Reports an epoch, given as the record of the training loop."""
    update(format_record(record))


def summary(text: str) -> None:
    """Reports the step's result: the line that stays on the screen when the step is done."""
    logging.info("%s", text)
    if _on_summary:
        _on_summary(text)
