"""`towers test`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

EPILOG = """\
example:
  towers test
  towers test tests/serving -k swap
  towers test -m "not slow"

All options go to pytest.
"""
PASSES_THROUGH = True
ADD_HELP = False  # --help is pytest's

_ROOT = Path(__file__).parents[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(arguments: argparse.Namespace) -> int:
    if not (_ROOT / "tests").is_dir():
        print(f"towers: {_ROOT}: holds no tests; run this in a clone of the project.", file=sys.stderr)
        return 1
    return subprocess.call([sys.executable, "-m", "pytest", *arguments.rest], cwd=_ROOT)
