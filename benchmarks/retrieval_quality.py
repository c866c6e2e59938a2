"""Quality of retrieval on public data, compared with the best published figures, and the gain of ranking: test split,
full ranking, mean and standard deviation over seeds.

The data is not part of this project; the comment at the beginning of each configuration describes its layout below
--data. A dataset is prepared once, in WORK/SET (or taken from a finished run there). Finished results are stored in
--out, so the benchmark can be stopped and continued.

Command:  .venv/bin/python benchmarks/retrieval_quality.py --data DIR --work DIR --out quality.json
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from experiment import Result, Results, mean_and_spread, train_and_test
from prepared import ROOT, encoding_seconds, prepared
from simple_recommenders import measure, tuned_item_knn
from verdict import verdict

from trainer.config import Config
from trainer.data.dataset import Dataset
from trainer.evaluation.baselines import own_items

COLUMNS = ("ndcg@10", "hit_rate@10", "cold ndcg@10", "cold hit_rate@10", "hit_rate@100")
RATING_ERRORS, LIKED_ERRORS = ("rmse", "rmse_of_the_mean"), ("log_loss", "log_loss_of_the_share")
HEADINGS = ("NDCG@10", "HR@10", "cold NDCG@10", "cold HR@10", "HR@100")


@dataclass(frozen=True)
class Target:
    """The target of a dataset."""

    max_minutes: float  # for one seed, text encoding included
    min_metrics: dict[str, float]


TARGETS = {
    "movielens_1m": Target(60, {"ndcg@10": 0.176, "hit_rate@10": 0.304}),
    "amazon_beauty": Target(20, {"ndcg@10": 0.0525, "hit_rate@10": 0.087}),
    "amazon_reviews": Target(5, {"ndcg@10": 0.0710, "hit_rate@10": 0.135, "cold hit_rate@10": 0.029}),
    "douban_books": Target(5, {"ndcg@10": 0.0340, "hit_rate@10": 0.068, "cold hit_rate@10": 0.059}),
    "online_retail": Target(5, {}),  # should be above the recommenders without a model
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="as for `towers run`")
    parser.add_argument("--work", required=True, type=Path, help="directory of prepared datasets, WORK/SET")
    parser.add_argument("--out", required=True, type=Path, help="JSON file of finished results")
    parser.add_argument(
        "--sets", nargs="+", default=list(TARGETS), choices=list(TARGETS), metavar="SET", help="default: all"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override the YAMLs")
    arguments = parser.parse_args()
    results = Results(arguments.out)
    tables = []
    for name in arguments.sets:
        run = arguments.work / name
        config, dataset = prepared(ROOT / "configs" / f"{name}.yaml", arguments.data, run, arguments.set)
        results_of_seeds = []
        for seed in arguments.seeds:
            seeded = config.model_copy(update={"seed": seed})
            results_of_seeds.append(results.get(seeded, "retrieval", train_and_test, seeded, dataset))
        simple = simple_figures(config, dataset, results) if name == "online_retail" else {}
        tables.append(table(name, arguments.seeds, results_of_seeds, simple, encoding_seconds(run)))
        print(f"\n{tables[-1]}", flush=True)
    if len(tables) > 1:
        print("\n" + "=" * 100 + "\n\n" + "\n\n".join(tables))
    print("\ncold: targets with at most 5 train events; ±: standard deviation over seeds")


def simple_figures(config: Config, dataset: Dataset, results: Results) -> dict[str, Result]:
    """Test figures of recommenders without a model, except popularity, which each evaluation includes."""
    items, test = dataset.items, dataset.splits["test"]
    ranking = config.ranking.model_copy(update={"enabled": False})
    seedless = config.model_copy(update={"seed": 0, "ranking": ranking})

    def knn() -> Result:
        return measure(config, tuned_item_knn(config, items, dataset.train, dataset.splits["validation"]), items, test)

    def most_frequent() -> Result:
        return measure(config, own_items(items), items, test)

    makers = {"item-kNN": knn, "user's most frequent": most_frequent}
    return {name: results.get(seedless, name, make) for name, make in makers.items()}


def table(name: str, seeds: list[int], results: list[Result], simple: dict[str, Result], encoding: float | None) -> str:
    """The figures of one dataset, its targets and whether they are reached; at most 100 columns wide."""
    target = TARGETS[name]
    means = {column: mean_and_spread([result[column] for result in results]) for column in COLUMNS}
    users = f"{results[0]['users']:,} users, {results[0]['cold_users']:,} with a cold target"
    lines = [f"{name}: {users}; seeds {', '.join(map(str, seeds))}"]
    lines.append(f"{'':<25}" + "".join(f"{heading:>15}" for heading in HEADINGS))
    lines.append(f"{'  retrieval':<25}" + "".join(f"{_figure(*means[column]):>15}" for column in COLUMNS))
    if "recommend" in results[0]:
        lines.append(_recommend(results))
    for title, figures in {"popularity": results[0]["popularity"], **simple}.items():
        lines.append(f"  {title:<23}" + "".join(f"{_figure(figures.get(column)):>15}" for column in COLUMNS))
    minimum = dict(target.min_metrics)
    if simple:
        rivals = [results[0]["popularity"], *simple.values()]
        # Above them, not equal to them.
        minimum = {column: math.nextafter(max(r[column] for r in rivals), 1) for column in ("ndcg@10", "hit_rate@10")}
    lines.append(f"{'  at least':<25}" + "".join(f"{_figure(minimum.get(column)):>15}" for column in COLUMNS))
    verdicts = [verdict(means[column][0] >= minimum[column]) if column in minimum else "" for column in COLUMNS]
    lines.append(f"{'':<25}" + "".join(f"{word + ' ' * 8 if word else '':>15}" for word in verdicts))
    training = [result["seconds"] for result in results]
    longest = max(training) + (encoding or 0)
    encoded = "text encoding not measured (the store held the texts)" if encoding is None else f"{encoding:.0f} s"
    epochs = ", ".join(f"{result['best_epoch']} of {result['epochs']}" for result in results)
    seconds = f"{', '.join(f'{duration:.0f}' for duration in training)} s"
    lines.append(f"  training {seconds}; best epoch {epochs}; {results[0]['parameters'] / 1e6:.1f} M parameters")
    in_time = "not known" if encoding is None else verdict(longest <= target.max_minutes * 60)
    minutes = f"up to {longest / 60:.1f} of {target.max_minutes:.0f} min"
    lines.append(f"  one seed, encoding ({encoded}) included: {minutes}: {in_time}")
    return "\n".join(lines)


def _recommend(results: list[Result]) -> str:
    """The figures with ranking, and how often it was better on validation, which decides whether it is served."""
    ranked = [result["recommend"] for result in results]
    cells = [_figure(*mean_and_spread([result[column] for result in ranked])) for column in COLUMNS]
    used = sum(result["used"] for result in ranked)
    before, after = np.mean([result["validation ndcg@10"] for result in ranked], axis=0)
    usage = f"    ranking: validation NDCG@10 {before:.4f} -> {after:.4f}, used with {used} of {len(ranked)} seeds"
    seconds = ", ".join(f"{result['seconds']:.0f}" for result in ranked)
    lines = [f"{'  recommend':<25}" + "".join(f"{cell:>15}" for cell in cells), f"{usage}; {seconds} s"]
    if all("rating" in result for result in ranked):
        error, of_mean = (np.mean([result["rating"][name] for result in ranked]) for name in RATING_ERRORS)
        loss, of_share = (np.mean([result["liked"][name] for result in ranked]) for name in LIKED_ERRORS)
        lines.append(
            f"    ratings on validation: RMSE {error:.3f} (one for all: {of_mean:.3f}); "
            f"liked: log loss {loss:.3f} ({of_share:.3f})"
        )
    return "\n".join(lines)


def _figure(mean: float | None, spread: float | None = None) -> str:
    if mean is None:
        return ""
    return f"{mean:.4f}" + (f" ±{spread:.4f}" if spread is not None else " " * 8)


if __name__ == "__main__":
    main()
