"""`towers report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.errors import UsageError

EPILOG = """\
example:
  towers report --run runs/amazon
  towers report --run runs/amazon --out amazon.html

One HTML file that opens with no network: whether the model beats simple recommenders, for whom it is better or worse,
and how sure that is. Every finished run has one, RUN/report/report.html; the figures are in evaluation.json beside it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, metavar="DIR", help="directory of a finished run")
    parser.add_argument("--out", default=None, metavar="FILE", help="the page (default: RUN/report/report.html)")


def run(arguments: argparse.Namespace) -> int:
    output = None if arguments.out is None else Path(arguments.out)
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise UsageError(f"--out {output}: should be a file in a directory that exists.")
    from tfx_pipeline.reporting import write_report
    from tfx_pipeline.run_directory import RunDirectory

    print(write_report(RunDirectory(arguments.run), output))
    return 0
