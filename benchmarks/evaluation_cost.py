"""Cost of an evaluation with all metrics, slices, baselines and intervals: seconds of its parts, and peak memory.

It is measured on MovieLens-1M with an untrained model, which ranks as fast as a trained one, and on 100,000 synthetic
users and items with random vectors. Each runs in its own process, so that the peaks are separate.

Command:  .venv/bin/python benchmarks/evaluation_cost.py --data DIR --work DIR
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from threads import use_threads

use_threads(2)

import numpy as np  # noqa: E402
from prepared import ROOT, prepared  # noqa: E402
from verdict import verdict  # noqa: E402

from trainer.config import Config  # noqa: E402
from trainer.data.features import has_clock  # noqa: E402
from trainer.data.tables import ItemTable, SequenceTable  # noqa: E402
from trainer.evaluation import detailed, stages  # noqa: E402
from trainer.evaluation.baselines import popularity  # noqa: E402
from trainer.evaluation.full_ranking import RankingTask, rank_with_scorer  # noqa: E402
from trainer.evaluation.protocols import Scorer  # noqa: E402
from trainer.evaluation.targets import targets_of  # noqa: E402
from trainer.ranking.candidate_features import CandidateFeatures  # noqa: E402
from trainer.ranking.model import RankingModel  # noqa: E402
from trainer.retrieval.model import RetrievalModel  # noqa: E402
from trainer.towers.inputs import item_inputs, user_inputs  # noqa: E402

BOUNDS = {"movielens_1m": (60.0, 3.0), "vectors": (600.0, None)}  # seconds, GiB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="as for `towers run`")
    parser.add_argument("--work", type=Path, help="directory of the prepared dataset, WORK/movielens_1m")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--part", choices=list(BOUNDS), help="measure only this part, in this process")
    arguments = parser.parse_args()
    if arguments.part is None:
        for part in BOUNDS:
            if part != "movielens_1m" or arguments.data:
                subprocess.run([sys.executable, __file__, *sys.argv[1:], "--part", part], check=True)
    elif arguments.part == "movielens_1m":
        movielens(arguments.data, arguments.work)
    else:
        vectors(arguments.users, arguments.items)


def movielens(data: Path, work: Path) -> None:
    config, dataset = prepared(ROOT / "configs" / "movielens_1m.yaml", data, work / "movielens_1m")
    items, train, texts = dataset.items, dataset.train, dataset.texts
    clock = has_clock(config.data)
    model = RetrievalModel(
        config, item_inputs(config.model, items, texts), user_inputs(config.model, train, texts, clock)
    )
    model.attach(items, texts)
    ranking = RankingModel(
        config, config.model.dim, CandidateFeatures.count(items, train, config.ranking.neighbours), False, 0.0, 1.0
    )
    ranking.attach(model.item_vectors())
    sizes = f"{len(dataset.splits['test']):,} users x {int(items.occurs.sum()):,} items"
    with measured("movielens_1m", sizes):
        detailed.evaluate_in_detail(config, model, dataset, "test", ranking)


def vectors(users: int, items: int, dim: int = 64, length: int = 20) -> None:
    generator = np.random.default_rng(1)
    history = (items * generator.random((users, length + 1)) ** 3).astype(np.int32) + 1
    sequences = SequenceTable(
        user_id=np.array([f"u{i}" for i in range(users)], object),
        offsets=np.arange(users + 1, dtype=np.int64) * (length + 1),
        target_count=np.ones(users, np.int32),
        item=history.ravel(),
        timestamp=np.tile(np.arange(length + 1, dtype=np.int64), users),
    )
    train = SequenceTable(
        user_id=sequences.user_id,
        offsets=np.arange(users + 1, dtype=np.int64) * length,
        target_count=np.zeros(users, np.int32),
        item=np.ascontiguousarray(history[:, :-1]).ravel(),
        timestamp=np.tile(np.arange(length, dtype=np.int64), users),
    )
    ids = np.array([f"i{i}" for i in range(items)], object)
    count = np.bincount(train.item, minlength=items + 1)[1:]
    table = ItemTable(ids, ids, np.full(items, -1, np.int32), count, np.ones(items, bool))
    interactions = {"path": "x", "user_id": "u", "item_id": "i", "time": "t", "time_format": "order"}
    config = Config.model_validate({"name": "vectors", "data": {"interactions": interactions}})
    user_vectors = generator.normal(size=(users, dim)).astype(np.float32)
    item_vectors = generator.normal(size=(items + 1, dim)).astype(np.float32)

    def score(_: SequenceTable, rows: np.ndarray) -> np.ndarray:
        return user_vectors[rows] @ item_vectors.T

    scorers: dict[str, Scorer] = {"retrieval": score, "popularity": popularity(table)}
    with measured("vectors", f"{users:,} users x {items:,} items, 64-d"):
        targets, rows = targets_of(sequences), np.arange(users)
        task = RankingTask(config, table, sequences, k=max(config.evaluation.cutoffs))
        by_name = {
            name: stages.collect(rank_with_scorer(task, scorer), targets, rows, 10) for name, scorer in scorers.items()
        }
        ranked = stages.Stages(rows, targets, 10, by_name)
        detailed.build_document(config, ranked, detailed.EvaluationData(table, train, sequences))


@contextmanager
def measured(part: str, sizes: str) -> Iterator[None]:
    """Prints what the block costs, and whether that is within `BOUNDS`."""
    spent: dict[str, float] = {}
    for module, name in (
        (detailed, "tuned_baselines"),
        (detailed, "rank_stages"),
        (detailed, "means"),
        (detailed, "_stage_figures"),
        (detailed, "_slice"),
        (detailed, "comparisons"),
    ):
        setattr(module, name, _timed(getattr(module, name), name.strip("_"), spent))
    started = time.monotonic()
    yield
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    max_seconds, max_memory = BOUNDS[part]
    reached = seconds <= max_seconds and (max_memory is None or peak <= max_memory)
    bound = f"at most {max_seconds:.0f} s" + (f" and {max_memory:.0f} GiB" if max_memory else "")
    print(f"{part}: {sizes}: {seconds:.1f} s, peak {peak:.2f} GiB ({bound}: {verdict(reached)})")
    print("  " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in spent.items()), flush=True)


def _timed(function: Callable, name: str, spent: dict[str, float]) -> Callable:
    def timed(*arguments: object, **named: object) -> object:
        started = time.monotonic()
        try:
            return function(*arguments, **named)
        finally:
            spent[name] = spent.get(name, 0.0) + time.monotonic() - started

    return timed


if __name__ == "__main__":
    main()
