"""`towers data demo` and `towers data validate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.config import loader as config_loader

EPILOG = """\
example:
  towers data demo --out bookshop --events 1000000 --users 50000 --items 20000
  towers data validate --config configs/demo.yaml --data bookshop --out checked
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    demo = verbs.add_parser("demo", help="write the built-in bilingual bookshop")
    demo.add_argument("--out", required=True, metavar="DIR")
    demo.add_argument("--users", type=int, default=2_000)
    demo.add_argument("--items", type=int, default=1_500)
    demo.add_argument("--events", type=int, default=40_000)
    demo.add_argument("--seed", type=int, default=7)
    validate = verbs.add_parser("validate", help="read, validate and split a dataset; train nothing")
    validate.add_argument("--config", required=True)
    validate.add_argument("--data", default=".", metavar="DIR")
    validate.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the result and quarantine go")


def run(arguments: argparse.Namespace) -> int:
    return _demo(arguments) if arguments.verb == "demo" else _validate(arguments)


def _demo(arguments: argparse.Namespace) -> int:
    from rich.progress import Progress

    from tfx_pipeline import bookshop

    with Progress(transient=True) as bar:
        task = bar.add_task("writing", total=arguments.events)
        counts = bookshop.write(
            arguments.out,
            users=arguments.users,
            items=arguments.items,
            events=arguments.events,
            seed=arguments.seed,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for name, count in counts.items():
        print(f"{name:<20} {count:>12,}" if isinstance(count, int) else f"{name:<20} {count}")
    return 0


def _validate(arguments: argparse.Namespace) -> int:
    config = config_loader.load(arguments.config)
    from tfx_pipeline.ingest import dataset

    arguments.out.mkdir(parents=True, exist_ok=True)
    paths = dataset.OutputPaths(*(str(arguments.out / name) for name in ("sequences", "items", "quarantine")))
    report = dataset.ingest(config, arguments.data, paths, [])
    print(report.table())
    print(f"quarantine    {paths.quarantine}")
    return 0
