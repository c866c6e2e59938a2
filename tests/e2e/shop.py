"""A small run of the whole pipeline, as tests look at it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tfx_pipeline.runs.run_directory import RunDirectory

ROOT = Path(__file__).parents[2]


def towers(*arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tfx_pipeline.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@dataclass(frozen=True)
class Shop:
    """A small bookshop, and the run that was made of it.

    Attributes:
      data: its tables.
      directory: the run's.
      arguments: of `towers run`, to run it again.
      first: what the first run printed.
    """

    data: Path
    directory: RunDirectory
    arguments: list[str]
    first: subprocess.CompletedProcess[str]

    def again(self, *more: str) -> subprocess.CompletedProcess[str]:
        return towers("run", *self.arguments, *more)
