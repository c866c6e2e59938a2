"""`towers report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.errors import UsageError

EPILOG = """\
example:
  towers report --run runs/amazon
  towers report --compare runs/before runs/after --out change.html

One HTML file that opens with no network: whether the model beats simple recommenders, for whom it is better or worse,
and how sure that is. Every finished run writes one: report.html in RUN/report, beside evaluation.json with the figures.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", metavar="DIR", help="directory of a finished run")
    what.add_argument(
        "--compare", nargs=2, metavar=("RUN_A", "RUN_B"), help="whether the second serves the same users better"
    )
    parser.add_argument(
        "--out", default=None, metavar="FILE", help="the page (default: report.html or comparison.html in RUN/report)"
    )


def run(arguments: argparse.Namespace) -> int:
    output = None if arguments.out is None else Path(arguments.out)
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise UsageError(f"--out {output}: should be a file in a directory that exists.")
    from tfx_pipeline.runs.reporting import write_comparison, write_report
    from tfx_pipeline.runs.run_directory import RunDirectory
    from trainer.evaluation.comparison import table

    if arguments.run is not None:
        print(write_report(RunDirectory(arguments.run), output))
        return 0
    first, second = (RunDirectory(path) for path in arguments.compare)
    path, compared, notes = write_comparison(first, second, output)
    print(f"A  {first.path} ({compared['stages'][0]})")
    print(f"B  {second.path} ({compared['stages'][1]}), {compared['users']:,} users in both")
    print(table(compared))
    print("\n".join(notes), end="\n" if notes else "")
    print(path)
    return 0
