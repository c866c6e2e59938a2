"""`towers reindex`."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.config import loader as config_loader
from trainer.errors import TowersError, UsageError

if TYPE_CHECKING:  # importing Beam and TensorFlow takes seconds, and --help none
    from tfx_pipeline.reindex.reindexing import Reindexed
    from trainer.config import Config

EPILOG = """\
example:
  towers reindex --run runs/shop --data ~/data/shop
  towers reindex --run runs/shop --items ~/data/shop/items-today.jsonl --set index.kind=brute_force

Reads the items table anew and pushes a new version of the model with the same weights, which a running server swaps to.
New items get vectors from what the table says of them; items it no longer has leave the index; those the run knows by
their events alone stay. The table is the whole catalogue, not the new items alone. Only --set serving.*, index.* and
data.max_bad_row_rate apply: the rest belongs to the training. Unknown options go to Beam.
"""
PASSES_THROUGH = True  # Beam's options
_OVERRIDABLE = ("serving.", "index.", "data.max_bad_row_rate=")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, metavar="DIR", help="directory of a finished run")
    parser.add_argument("--data", default=".", metavar="DIR", help="what its paths are relative to (default: here)")
    parser.add_argument("--items", default=None, metavar="TABLE", help="file, glob or directory to read instead")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override the run's")
    parser.add_argument(
        "--max_removed", type=float, default=0.5, metavar="SHARE", help="of its items that may leave (default: 0.5)"
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
    """A run's configuration with what a reindexing may change.

    Raises:
      UsageError: an override is of what belongs to the training, or does not fit.
      TowersError: the run has no items table.
    """
    for override in overrides:
        if not override.startswith(_OVERRIDABLE):
            raise UsageError(
                f"--set {override!r}: only serving.*, index.* and data.max_bad_row_rate change without training."
            )
    if config.data.items is None:
        raise TowersError("the run's configuration has no items table (`data.items`): there is nothing to read anew.")
    if items is not None:
        place = items if "://" in items else os.path.abspath(items)
        overrides = [*overrides, f"data.items.path={json.dumps(place)}"]
    return config_loader.overridden(config, overrides)


def _check_table(config: Config, data: str) -> None:
    """A missing file is said at once: importing the rest takes longer than all of this."""
    from tfx_pipeline.ingest import files

    assert config.data.items is not None
    files.find("items", config.data.items, data)


def describe(done: Reindexed, quarantine: Path) -> str:
    """What was done, for people: a line on each part."""
    changes, table = done.changes, done.rows.tables["items"]
    broken = sum(table.broken.values())
    lines = [
        f"items    {done.items:,} in the index: {len(changes.new):,} new, {len(changes.changed):,} changed, "
        f"{changes.same:,} as they were; {len(changes.removed):,} removed",
        f"table    {table.rows:,} rows, {table.used:,} used" + (f", {broken:,} broken: {quarantine}" if broken else ""),
        f"index    {done.index}",
        f"model    {done.model}",
        f"version  {os.path.basename(done.model)}",
    ]
    if done.unread:
        lines.insert(
            1, f"         {done.unread:,} of the new ones say nothing that the model reads: all have one vector"
        )
    return "\n".join(lines)
