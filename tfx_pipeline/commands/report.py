"""`towers report`."""

from __future__ import annotations

import argparse

from tfx_pipeline.commands.options import output_file

EPILOG = """\
example:
  towers report --run runs/amazon
  towers report --compare runs/before runs/after --out change.html

Writes one HTML file that needs no network. It shows whether the model is better than simple
recommenders, for which users and items it is better or worse, and how certain that is. `towers run`
writes the same page to RUN/report/report.html, and its figures to RUN/report/evaluation.json.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    runs = parser.add_mutually_exclusive_group(required=True)
    runs.add_argument("--run", metavar="DIR", help="directory of the finished run to report on")
    runs.add_argument(
        "--compare",
        nargs=2,
        metavar=("RUN_A", "RUN_B"),
        help="directories of two finished runs: does B recommend better to the same users than A?",
    )
    parser.add_argument(
        "--out",
        default=None,
        metavar="FILE",
        help="page to write (default: RUN/report/report.html or RUN_B/report/comparison.html)",
    )


def run(arguments: argparse.Namespace) -> int:
    output = None if arguments.out is None else output_file(arguments.out)
    from tfx_pipeline.runs.reporting import write_comparison, write_report
    from tfx_pipeline.runs.run_directory import RunDirectory
    from trainer.evaluation.comparison import table

    if arguments.run is not None:
        print(write_report(RunDirectory(arguments.run), output))
        return 0
    first, second = (RunDirectory(path) for path in arguments.compare)
    path, comparison, notes = write_comparison(first, second, output)
    print(f"A  {first.path} ({comparison['stages'][0]})")
    print(f"B  {second.path} ({comparison['stages'][1]}), {comparison['users']:,} users in both runs")
    print(table(comparison))
    print("\n".join(notes), end="\n" if notes else "")
    print(path)
    return 0
