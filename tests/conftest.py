"""What holds for all tests: the environment, how tests are spread over workers, and the quick run."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_OWN_RUNS = ("tests/e2e/test_bad_input.py",)  # tests of these files do not use the shared run
_SLOW_FILE = re.compile(r"^pytestmark = pytest\.mark\.slow$", re.MULTILINE)

if os.environ.get("PYTEST_XDIST_WORKER"):
    # Workers take all processors already: more threads in each, and in the servers it starts, would only wait for each
    # other. Read by TensorFlow and by the BLAS libraries of NumPy and SciPy when they are imported.
    for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # Started in the background of a shell that is not interactive: the tests and their children would never see the
    # interrupts that they send.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only quick tests, some of every package")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--quick") and not config.option.markexpr:
        config.option.markexpr = "not slow"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The quick run does not even import a file that is marked slow as a whole."""
    if config.getoption("--quick") and collection_path.suffix == ".py":
        return bool(_SLOW_FILE.search(collection_path.read_text(encoding="utf-8"))) or None
    return None


class _Scheduling(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "tests/e2e" if file.startswith("tests/e2e/") and file not in _OWN_RUNS else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """A file's tests stay in one worker, and so do all those that look at the same run: it is made once."""
    return _Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None
