"""Seconds of a training epoch over a quarter, a half and all of MovieLens-1M's users.

Each size trains from scratch for two epochs, by `retrieval.train`, without validation; the second is measured, as the
first also compiles. The sizes take turns, so that a noisy machine is noisy for all of them, and each one's fastest turn
counts. Linear is 1.00x in the last column: seconds an event, against those of all users.

Command:  .venv/bin/python benchmarks/training_growth.py --data DIR
          to try it: --run RUN --shares 0.02 0.04 --rounds 1
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from threads import use_threads

ROOT = Path(__file__).parents[1]


def epoch_seconds(config: Any, dataset: Any, directory: Path) -> float:
    """Of the second epoch."""
    from trainer.retrieval import training as retrieval_training

    records: list[dict[str, Any]] = []
    two = {"epochs": 2, "patience": 2}
    retrieval_training.train(
        config.model_copy(update={"retrieval": config.retrieval.model_copy(update=two)}),
        replace(dataset, splits={"train": dataset.train}),
        directory,
        on_epoch=records.append,
    )
    return records[-1]["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="as for `towers run`; not needed where --run is prepared")
    parser.add_argument("--run", type=Path, help="a run's directory, prepared if it is not (default: temporary)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override the YAML")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5, 1.0], help="of the users")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.run is None and arguments.data is None:
        parser.error("give --data, --run or both")

    use_threads(arguments.threads)
    from prepared import prepared
    from subset import some_users

    with tempfile.TemporaryDirectory() as scratch:
        config, dataset = prepared(
            ROOT / "configs" / "movielens_1m.yaml",
            (arguments.data or Path()).absolute(),
            (arguments.run or Path(scratch, "run")).absolute(),
            arguments.set,
        )
        sizes = {
            share: some_users(dataset, round(share * len(dataset.train)), config.seed) for share in arguments.shares
        }
        seconds: dict[float, list[float]] = {share: [] for share in sizes}
        for turn in range(arguments.rounds):
            for share, part in sizes.items():
                seconds[share].append(epoch_seconds(config, part, Path(scratch, f"towers-{turn}-{share}")))
                print(f"{share:g}x: {seconds[share][-1]:.1f} s", file=sys.stderr, flush=True)

    events = {share: len(part.train.item) for share, part in sizes.items()}
    whole = max(sizes)
    print(f"\n{'users':>8}{'events':>12}{'epoch':>10}{'events/s':>12}{'an event':>12}")
    for share, part in sizes.items():
        best = min(seconds[share])
        relative = best / events[share] / (min(seconds[whole]) / events[whole])
        print(
            f"{len(part.train):>8,}{events[share]:>12,}{best:>8.1f} s{events[share] / best:>12,.0f}{relative:>11.2f}x"
        )


if __name__ == "__main__":
    main()
