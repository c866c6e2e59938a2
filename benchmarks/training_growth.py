"""Seconds of a training epoch over a quarter, a half and all of MovieLens-1M's users.

Each size trains from scratch for two epochs with `trainer.retrieval.training`, without validation. The second epoch is
measured, because the first includes compilation. The sizes take turns, so that noise of the machine affects all of them
alike; the fastest turn of each counts. The last column is seconds per event relative to those of all users: 1.00x means
linear growth.

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
    """Seconds of the second epoch."""
    from trainer.retrieval import training as retrieval_training

    records: list[dict[str, Any]] = []
    two_epochs = {"epochs": 2, "patience": 2}
    retrieval_training.train(
        config.model_copy(update={"retrieval": config.retrieval.model_copy(update=two_epochs)}),
        replace(dataset, splits={"train": dataset.train}),
        directory,
        on_epoch=records.append,
    )
    return records[-1]["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="as for `towers run`; not needed if --run is prepared")
    parser.add_argument("--run", type=Path, help="a run's directory, prepared if it is missing (default: temporary)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override the YAML")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5, 1.0], help="of the users")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.run is None and arguments.data is None:
        parser.error("give --data, --run or both")

    use_threads(arguments.threads)
    from prepared import prepared
    from subset import sample_users

    with tempfile.TemporaryDirectory() as scratch:
        config, dataset = prepared(
            ROOT / "configs" / "movielens_1m.yaml",
            (arguments.data or Path()).absolute(),
            (arguments.run or Path(scratch, "run")).absolute(),
            arguments.set,
        )
        sizes = {
            share: sample_users(dataset, round(share * len(dataset.train)), config.seed) for share in arguments.shares
        }
        seconds: dict[float, list[float]] = {share: [] for share in sizes}
        for turn in range(arguments.rounds):
            for share, part in sizes.items():
                seconds[share].append(epoch_seconds(config, part, Path(scratch, f"towers-{turn}-{share}")))
                print(f"{share:g}x: {seconds[share][-1]:.1f} s", file=sys.stderr, flush=True)

    events = {share: len(part.train.item) for share, part in sizes.items()}
    largest = max(sizes)
    print(f"\n{'users':>8}{'events':>12}{'epoch':>10}{'events/s':>12}{'per event':>12}")
    for share, part in sizes.items():
        best = min(seconds[share])
        relative = best / events[share] / (min(seconds[largest]) / events[largest])
        print(
            f"{len(part.train):>8,}{events[share]:>12,}{best:>8.1f} s{events[share] / best:>12,.0f}{relative:>11.2f}x"
        )


if __name__ == "__main__":
    main()
