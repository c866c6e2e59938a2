"""What holds for all tests."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_OF_THEIR_OWN = ("tests/e2e/test_bad_input.py",)  # make other runs

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # Started in the background of a shell that is not interactive: the tests and their children would never see the
    # interrupts that they send.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class _Scheduling(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "tests/e2e" if file.startswith("tests/e2e/") and file not in _OF_THEIR_OWN else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """A file's tests stay in one worker, and so do all those that look at the same run: it is made once."""
    return _Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None
