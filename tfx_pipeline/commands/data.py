"""`towers data demo` and `towers data validate`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tfx_pipeline.commands.options import add_data
from trainer.config import loader as config_loader

_DEMO_EXAMPLE = "towers data demo --out bookshop --events 1000000 --users 50000 --items 20000"
_VALIDATE_EXAMPLE = "towers data validate --config configs/demo.yaml --data bookshop --out checked"
EPILOG = f"""\
example:
  {_DEMO_EXAMPLE}
  {_VALIDATE_EXAMPLE}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    demo = _add_verb(verbs, "demo", "write the data of the built-in bilingual bookshop", _DEMO_EXAMPLE)
    demo.add_argument("--out", required=True, metavar="DIR", help="directory to write the tables to")
    for name, default in (("users", 2_000), ("items", 1_500), ("events", 40_000)):
        demo.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"number of {name} (default: {default:,})"
        )
    demo.add_argument("--seed", type=int, default=7, metavar="N", help="random seed (default: 7)")
    validate = _add_verb(verbs, "validate", "read, check and split a dataset, without training", _VALIDATE_EXAMPLE)
    validate.add_argument("--config", required=True, metavar="YAML", help="configuration of the dataset")
    add_data(validate)
    validate.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="directory for the splits and for rows with errors"
    )


def _add_verb(verbs: Any, name: str, text: str, example: str) -> argparse.ArgumentParser:
    return verbs.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


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
