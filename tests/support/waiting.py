"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST = 90.0  # seconds; a busy machine takes long


def wait_until(condition: Callable[[], object], seconds: float = LONGEST, told: Callable[[], object] = str) -> None:
    """Returns once the condition holds.

    Args:
        told: where it does not in that time, what the failure says.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, told() or "it did not happen in time"
        time.sleep(0.01)
