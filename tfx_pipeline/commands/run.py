"""`towers run`."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tfx_pipeline.commands.options import add_pipeline_options
from trainer.config import Config
from trainer.config import loader as config_loader

if TYPE_CHECKING:  # importing TFX takes seconds, and --help does not need it
    from tfx_pipeline.runners.local import RunResult
    from tfx_pipeline.terminal.screen import Screen

EPILOG = """\
example:
  towers run --config configs/amazon_reviews.yaml --data ~/data/amazon --out runs/amazon
  towers run --config my.yaml --data . --out runs/mine \\
      --direct_running_mode multi_processing --direct_num_workers 8

A second run in the same --out repeats only what changed. All other options go to Beam.
"""
PASSES_THROUGH = True  # Beam's options
_SECRET = re.compile("secret|key|token|password|connection_string|credential", re.IGNORECASE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_pipeline_options(parser)


def run(arguments: argparse.Namespace) -> int:
    config = config_loader.load(arguments.config, arguments.set)
    from tfx_pipeline import beam_options
    from tfx_pipeline.terminal.screen import Screen

    beam_pipeline_args = beam_options.check_arguments(arguments.rest)
    execute(config, arguments.data, arguments.out or Path("runs") / config.name, beam_pipeline_args, Screen())
    return 0


def command_line(arguments: list[str]) -> str:
    """The command for the report, without the values of options whose names suggest a secret."""
    words, is_secret_value = ["towers"], False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        is_secret = argument.startswith("--") and _SECRET.search(name) is not None
        if is_secret_value:
            words.append("***")
        else:
            words.append(f"{name}=***" if is_secret and equals else argument)
        is_secret_value = is_secret and not equals
    return shlex.join(words).encode("utf-8", "replace").decode()


def execute(
    config: Config, data: str | Path, out: str | Path, beam_pipeline_args: list[str], screen: Screen
) -> RunResult:
    """Runs the pipeline and prints the result; `towers demo` does so too."""
    from tfx_pipeline.fingerprint import fingerprint
    from tfx_pipeline.runs.run_directory import RunDirectory
    from trainer.evaluation.describe import table

    fingerprint(config.data, str(data))  # reports a missing file before the slow import of TFX
    directory = RunDirectory(out)
    from tfx_pipeline.runners import local

    result = local.run(config, str(data), directory, beam_pipeline_args, screen, command_line(sys.argv[1:]))
    cached = f", {len(result.cached)} steps unchanged" if result.cached else ""
    screen.say(f"done in {result.seconds:.0f} s{cached}")
    print(table(result.evaluation))
    print(f"model   {result.model}")
    print(f"report  {directory.report / 'report.html'}")
    return result
