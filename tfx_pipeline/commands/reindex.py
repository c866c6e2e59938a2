"""`towers reindex`."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tfx_pipeline.commands.options import add_data, add_overrides, add_run
from trainer.config import loader as config_loader
from trainer.errors import TowersError, UsageError

if TYPE_CHECKING:  # importing Beam and TensorFlow takes seconds, and --help does not need them
    from tfx_pipeline.reindex.reindexing import Reindexed
    from trainer.config import Config

EPILOG = """\
example:
  towers reindex --run runs/shop --data ~/data/shop
  towers reindex --run runs/shop --items ~/data/shop/items-today.jsonl --set index.kind=brute_force

Reads the items table again, makes vectors of its items with the trained model and pushes a new
version with the same weights. A running server loads it and drops the old one.

The table should have all items that may be recommended, not only the new ones:
  new items        get vectors from their texts and features
  missing items    are removed, except those that the run knows only from events

--set can change serving.*, index.* and data.max_bad_row_rate. Other settings belong to training.
All other options go to Beam.
"""
PASSES_THROUGH = True  # Beam's options
_OVERRIDABLE = ("serving.", "index.", "data.max_bad_row_rate=")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    add_data(parser)
    parser.add_argument(
        "--items", default=None, metavar="TABLE", help="file, glob or directory to read in place of data.items.path"
    )
    add_overrides(parser, example="serving.k=50")
    parser.add_argument(
        "--max_removed",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="largest share of the run's items that may be removed (default: 0.5)",
    )


def run(arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.max_removed <= 1:
        raise UsageError(f"`--max_removed` should be between 0 and 1. Received: {arguments.max_removed:g}")
    from tfx_pipeline import beam_options
    from tfx_pipeline.runs.run_directory import RunDirectory
    from tfx_pipeline.terminal.screen import Screen

    directory = RunDirectory(arguments.run)
    config = with_settings(directory.finished_config(), arguments.set, arguments.items)
    beam_pipeline_args = beam_options.check_arguments(arguments.rest)
    _check_table(config, arguments.data)
    from tfx_pipeline.reindex.reindexing import reindex
    from tfx_pipeline.reindex.workspace import ReindexSettings

    settings = ReindexSettings(config, arguments.data, beam_pipeline_args, arguments.max_removed)
    result = reindex(settings, directory, Screen())
    print(describe(result, directory.reindexed / "quarantine"))
    return 0


def with_settings(config: Config, overrides: list[str], items: str | None) -> Config:
    """A run's configuration with the settings that a reindexing may change.

    Args:
      config: the run's configuration.
      overrides: of --set.
      items: of --items.

    Raises:
      UsageError: an override belongs to training, or is not valid.
      TowersError: the run has no items table.
    """
    for override in overrides:
        if not override.startswith(_OVERRIDABLE):
            raise UsageError(
                f"--set {override!r}: only serving.*, index.* and data.max_bad_row_rate can change without training."
            )
    if config.data.items is None:
        raise TowersError("the run's configuration has no items table (`data.items`) that could be read again.")
    if items is not None:
        path = items if "://" in items else os.path.abspath(items)
        overrides = [*overrides, f"data.items.path={json.dumps(path)}"]
    return config_loader.overridden(config, overrides)


def _check_table(config: Config, data: str) -> None:
    """Reports a missing file before the slow imports of reindexing."""
    from tfx_pipeline.ingest import files

    assert config.data.items is not None
    files.find("items", config.data.items, data)


def describe(result: Reindexed, quarantine: Path) -> str:
    """The result for people, in a few lines."""
    changes, table = result.changes, result.rows.tables["items"]
    broken = sum(table.broken.values())
    lines = [
        f"items    {result.items:,} in the index: {len(changes.new):,} new, {len(changes.changed):,} changed, "
        f"{changes.same:,} unchanged; {len(changes.removed):,} removed",
        f"table    {table.rows:,} rows, {table.used:,} used" + (f", {broken:,} broken: {quarantine}" if broken else ""),
        f"index    {result.index}",
        f"model    {result.model}",
        f"version  {os.path.basename(result.model)}",
    ]
    if result.unread:
        note = f"{result.unread:,} new items have no text or feature that the model reads: all have the same vector"
        lines.insert(1, f"{'':<9}{note}")
    return "\n".join(lines)
