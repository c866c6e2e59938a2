"""What the steps of a reindexing share: its settings, the run and a working directory."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from tfx_pipeline.runs.run_directory import RunDirectory
from trainer.config import Config

_PREFIX = ".reindex-"  # of working directories


@dataclass(frozen=True)
class ReindexSettings:
    """Settings of a reindexing.

    Attributes:
      config: the finished run's configuration, with other settings of serving, the index or the items table.
      data_root: directory that relative paths in the configuration start from.
      beam_pipeline_args: options of the steps that run on Beam.
      max_removed: the largest share of the run's catalogue that may be removed.
    """

    config: Config
    data_root: str
    beam_pipeline_args: list[str]
    max_removed: float


@dataclass(frozen=True)
class Workspace:
    """A reindexing in progress.

    Attributes:
      settings: of the reindexing.
      run: directory of the finished run.
      directory: the working directory, in the run's directory.
    """

    settings: ReindexSettings
    run: RunDirectory
    directory: Path

    @property
    def config(self) -> Config:
        return self.settings.config

    @property
    def items(self) -> Path:
        """Ingested items."""
        return self.directory / "items"

    @property
    def transformed_items(self) -> Path:
        return self.directory / "transformed"

    @property
    def texts(self) -> Path:
        """Embeddings of the items' texts."""
        return self.directory / "texts"

    @property
    def index(self) -> Path:
        return self.directory / "index"

    @property
    def model(self) -> Path:
        """The exported SavedModel."""
        return self.directory / "model"

    def make_pipeline(self) -> beam.Pipeline:
        return beam.Pipeline(options=PipelineOptions(self.settings.beam_pipeline_args))


@contextlib.contextmanager
def open_workspace(settings: ReindexSettings, run: RunDirectory) -> Iterator[Workspace]:
    """Makes a working directory and removes it afterwards, after removing those of killed reindexings."""
    for leftover in run.path.glob(f"{_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=run.path) as directory:
        yield Workspace(settings, run, Path(directory))
