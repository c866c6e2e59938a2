"""What holds for all tests."""

from __future__ import annotations

import os
import signal

import pytest

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # Started in the background of a shell that is not interactive: the tests and their children would never see the
    # interrupts that they send.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay in one worker, and so do all those that look at the same run."""
    for item in items:
        file = item.nodeid.split("::")[0]
        definitions = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009 - pytest has no public name for it
        shared = any(fixture.baseid == "tests/e2e" for found in definitions.values() for fixture in found)
        item.add_marker(pytest.mark.xdist_group("tests/e2e" if shared else file))
