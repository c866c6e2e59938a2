"""`towers run`."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.config import Config
from trainer.config import loader as config_loader

if TYPE_CHECKING:  # importing TFX takes seconds, and --help none
    from tfx_pipeline.runners.local import RunResult
    from tfx_pipeline.terminal.screen import Screen

EPILOG = """\
example:
  towers run --config configs/amazon_reviews.yaml --data ~/data/amazon --out runs/amazon
  towers run --config my.yaml --data . --out runs/mine --direct_running_mode multi_processing --direct_num_workers 8

Unknown options go to Beam. A second run in the same --out repeats only what changed.
"""
PASSES_THROUGH = True  # Beam's options
_SECRET = re.compile("secret|key|token|password|connection_string|credential", re.IGNORECASE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, help="the dataset's YAML file")
    parser.add_argument("--data", default=".", metavar="DIR", help="what paths in it are relative to (default: here)")
    parser.add_argument("--out", default=None, metavar="DIR", help="the run's directory (default: runs/NAME)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override the YAML")


def run(arguments: argparse.Namespace) -> int:
    config = config_loader.load(arguments.config, arguments.set)
    from tfx_pipeline import beam_options
    from tfx_pipeline.terminal.screen import Screen

    beam_pipeline_args = beam_options.check_arguments(arguments.rest)
    execute(config, arguments.data, arguments.out or Path("runs") / config.name, beam_pipeline_args, Screen())
    return 0


def typed(arguments: list[str]) -> str:
    """The command as it may be shown: values of options that sound secret are left out."""
    shown, hidden = ["towers"], False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        secret = argument.startswith("--") and _SECRET.search(name) is not None
        shown.append("***" if hidden else f"{name}=***" if secret and equals else argument)
        hidden = secret and not equals
    return shlex.join(shown).encode("utf-8", "replace").decode()


def execute(
    config: Config, data: str | Path, out: str | Path, beam_pipeline_args: list[str], screen: Screen
) -> RunResult:
    """Runs the pipeline and prints what came of it; shared with `towers demo`."""
    from tfx_pipeline.fingerprint import fingerprint
    from tfx_pipeline.runs.run_directory import RunDirectory
    from trainer.evaluation.describe import table

    fingerprint(config.data, str(data))  # a missing file is said at once: importing TFX takes longer than all of this
    directory = RunDirectory(out)
    from tfx_pipeline.runners import local

    result = local.run(config, str(data), directory, beam_pipeline_args, screen, typed(sys.argv[1:]))
    cached = f", {len(result.cached)} steps unchanged" if result.cached else ""
    screen.say(f"done in {result.seconds:.0f} s{cached}")
    print(table(result.evaluation))
    print(f"model   {result.model}")
    print(f"report  {directory.report / 'report.html'}")
    return result
