"""A small run of the whole pipeline, as tests look at it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.command_line import towers_here
from tfx_pipeline.runs.run_directory import RunDirectory


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
        return towers_here("run", *self.arguments, *more)
