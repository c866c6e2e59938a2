"""`towers test`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

EPILOG = """\
example:
  towers test
  towers test tests/serving -k swap
  towers test --quick

--quick runs only quick tests, some of every package, in under 90 seconds on 2 cores.
All other options go to pytest.
"""
PASSES_THROUGH = True
ADD_HELP = False  # --help goes to pytest

_ROOT = Path(__file__).parents[2]
_MOST_WORKERS = 4  # each takes up to 3 GiB
# The caller sets the number of processes with the first two options; the others need one process on the terminal.
_ONE_PROCESS = ("-n", "--numprocesses", "--pdb", "--trace", "-h", "--help")  # no workers are added


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(arguments: argparse.Namespace) -> int:
    if not (_ROOT / "tests").is_dir():
        print(f"towers: {_ROOT}: has no tests. Run this in a clone of the project.", file=sys.stderr)
        return 1
    workers = ["-n", str(min(os.cpu_count() or 1, _MOST_WORKERS)), "--dist=loadfile"]
    if any(argument.split("=")[0] in _ONE_PROCESS for argument in arguments.rest):
        workers = []
    return subprocess.call([sys.executable, "-m", "pytest", *workers, *arguments.rest], cwd=_ROOT)
