"""Options and checks that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import UsageError

if TYPE_CHECKING:  # --help should not wait for what this imports
    from trainer.config import Config


def add_pipeline_options(parser: argparse.ArgumentParser) -> None:
    """The options of commands that run the pipeline."""
    parser.add_argument("--config", required=True, metavar="YAML", help="configuration of dataset and model")
    add_data(parser)
    parser.add_argument("--out", default=None, metavar="DIR", help="directory of the run (default: runs/<name>)")
    add_overrides(parser)


def add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        default=".",
        metavar="DIR",
        help="directory that relative paths in the configuration start from (default: the current one)",
    )


def add_overrides(parser: argparse.ArgumentParser, example: str = "model.dim=128") -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help=f"change a setting of the configuration, such as {example}; may be repeated",
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, metavar="DIR", help="directory of a finished run")


def output_file(out: str) -> Path:
    """The path of a file to write.

    Raises:
      UsageError: it is a directory, or its directory does not exist.
    """
    path = Path(out)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"--out {path}: should be a file in a directory that exists.")
    return path


def check_split(split: str, config: Config, run: str) -> None:
    """Raises UsageError if a run has no test split but `split` asks for it."""
    if split == "test" and not config.data.split.test:
        raise UsageError(f"{run}: was run without a test split (data.split.test). Give --split validation.")
