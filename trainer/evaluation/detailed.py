"""All figures of a run's recommenders, with how sure they are, for whom they differ, and what can be told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.config import Config
from trainer.config.names import METRICS
from trainer.data.dataset import Dataset
from trainer.data.features import has_clock
from trainer.data.tables import ItemTable, SequenceTable
from trainer.evaluation import lists, metrics
from trainer.evaluation.baselines import tuned_baselines, written_of_items
from trainer.evaluation.candidates import candidate_mask
from trainer.evaluation.document import FORMAT, MODELS
from trainer.evaluation.evaluate import cold_targets, means
from trainer.evaluation.full_ranking import RankingTask, rank_with_scorer, target_ranks
from trainer.evaluation.per_user import headline, headline_figures
from trainer.evaluation.protocols import Ranker, Retriever, Scorer
from trainer.evaluation.ratings import evaluate_ratings
from trainer.evaluation.slices import COLD, Slice, slices
from trainer.evaluation.stages import Stages, rank_stages
from trainer.evaluation.target_ratings import TargetRatings, predict_target_ratings
from trainer.evaluation.targets import targets_of
from trainer.evaluation.uncertainty import (
    CONFIDENCE,
    MIN_USERS,
    Figure,
    bootstrap_intervals,
    differences,
    holm,
    verdict,
)

_CHOOSING_USERS = 2_000  # of validation, that baselines are tuned by


@dataclass(frozen=True)
class Evaluated:
    """An evaluation, and what it was made from.

    Attributes:
      document: what `evaluation.schema.json` describes.
      stages: the lists and ranks.
      target_ratings: of held-out events, see `predict_target_ratings`; None if no ratings are predicted.
    """

    document: dict[str, Any]
    stages: Stages
    target_ratings: TargetRatings | None


def evaluate_in_detail(
    config: Config,
    model: Retriever,
    dataset: Dataset,
    split: str,
    ranking: Ranker | None,
    languages: np.ndarray | None = None,
) -> Evaluated:
    """Evaluates the run's models and every baseline that the data allows, which are tuned on validation.

    Args:
      config: the configuration.
      model: the retrieval model, attached to the catalogue.
      dataset: with `train`, `validation` and `split`.
      split: its name.
      ranking: the ranking model on top, or None.
      languages: object (str) [texts], see `slices.slices`.

    """
    items, train, sequences = dataset.items, dataset.train, dataset.splits[split]
    about = written_of_items(items, train, dataset.texts)
    baselines = tuned_baselines(config, items, train, about, _measure(config, items, dataset.splits["validation"]))
    stages = rank_stages(config, model, items, sequences, ranking, baselines)
    result = detailed(config, stages, items, sequences, train, about, languages)
    result["ratings"], target_ratings = None, None
    if ranking is not None and ranking.rated and sequences.rating is not None:
        target_ratings = predict_target_ratings(config, model, ranking, sequences)
        result["ratings"] = evaluate_ratings(config, target_ratings)
    return Evaluated(result, stages, target_ratings)


def _measure(config: Config, items: ItemTable, validation: SequenceTable) -> Callable[[Scorer], float]:
    """The first headline metric of a scorer, over some validation users."""
    targets = targets_of(validation)
    users = np.flatnonzero(np.diff(targets.offsets))
    if len(users) > _CHOOSING_USERS:
        users = np.random.default_rng(config.seed).choice(users, _CHOOSING_USERS, replace=False)
    cutoffs = config.evaluation.cutoffs
    metric = headline(cutoffs)[0]
    task = RankingTask(config, items, validation, k=max(cutoffs), users=users)

    def measure(scorer: Scorer) -> float:
        ranks = target_ranks(rank_with_scorer(task, scorer), targets)
        return float(metrics.per_user(ranks, targets.offsets, cutoffs)[metric].sum())

    return measure


def detailed(
    config: Config,
    stages: Stages,
    items: ItemTable,
    sequences: SequenceTable,
    train: SequenceTable,
    about: np.ndarray | None,
    languages: np.ndarray | None = None,
) -> dict[str, Any]:
    """All figures with intervals, slices, and what can be told apart: `evaluation.schema.json` describes them.

    Args:
      config: the configuration.
      stages: see `rank_stages`.
      items: the catalogue.
      sequences: the split.
      train: the train split.
      about: float32 [n + 1, width], what is written about items (`baselines.written_of_items`); None if nothing is.
      languages: object (str) [texts], see `slices.slices`.
    """
    result = {
        "format": FORMAT,
        "confidence": CONFIDENCE,
        "few_users": MIN_USERS,
        "targets": len(stages.targets.item),
        "list_length": stages.list_length,
        "candidates": _candidates(config, items),
        **means(config, stages, items),
    }
    of_cold = [f"{name}@{k}" for k in config.evaluation.cutoffs for name in METRICS]
    users, _, reach = _of_targets(config, stages, cold_targets(stages, items), of_cold)
    result["cold"] |= {"small": users < MIN_USERS, "intervals": reach}
    result["intervals"] = {}
    for name in stages.by_name:
        values, reach = _of_stage(config, stages, name, items, sequences, about)
        result["stages"][name] |= values
        result["intervals"][name] = reach
    parts = slices(items, sequences, train, stages.targets, clock=has_clock(config.data), languages=languages)
    result["slices_by"] = list(headline(config.evaluation.cutoffs))
    result["slices"] = [_slice(config, stages, part) for part in parts]
    result["comparisons"] = comparisons(config, stages)
    result["exposure"] = lists.exposure_by_popularity(
        {name: stage.lists for name, stage in stages.by_name.items()}, items, candidate_mask(config, items)
    )
    return result


def _candidates(config: Config, items: ItemTable) -> dict[str, Any]:
    """What lists were made of, with a fingerprint that other candidates would not have."""
    ranked = candidate_mask(config, items)[1:]
    digest = hashlib.blake2b("\0".join(sorted(items.item_id[ranked])).encode(), digest_size=8).hexdigest()
    return {
        "rule": config.evaluation.candidates,
        "count": int(ranked.sum()),
        "items": len(items),
        "digest": digest,
    }


def comparisons(config: Config, stages: Stages) -> list[dict[str, Any]]:
    """Each of the run's models against each baseline, and ranking against retrieval, by the first two headline metrics.

    The comparisons by one metric are one family of tests: their p-values are adjusted by Holm's method.
    """
    models = [name for name in MODELS if name in stages.by_name]
    pairs = [(model, other) for model in models for other in stages.by_name if other not in MODELS]
    if len(models) == 2:
        pairs.append(("recommend", "retrieval"))
    values = {name: headline_figures(config, stages, name) for name in stages.by_name}
    result = []
    for metric in headline(config.evaluation.cutoffs)[:2]:
        found = differences(
            [values[other][metric] for _, other in pairs],
            [values[model][metric] for model, _ in pairs],
            seed=config.seed,
        )
        adjusted = holm([difference.p_value for difference in found])
        for (model, other), difference, p_value in zip(pairs, found, adjusted, strict=True):
            result.append(
                {
                    "metric": metric,
                    "model": model,
                    "with": other,
                    "difference": difference.value,
                    "interval": difference.interval,
                    "p_value": p_value,
                    "verdict": verdict(difference.value, p_value),
                }
            )
    return result


def _of_stage(
    config: Config,
    stages: Stages,
    name: str,
    items: ItemTable,
    sequences: SequenceTable,
    about: np.ndarray | None,
) -> tuple[dict[str, float], dict[str, Any]]:
    """What a stage's lists are like, and intervals of that and of the metrics."""
    stage, one = stages.by_name[name], np.ones(len(stages.users))
    ranked = metrics.per_user(stage.ranks, stages.targets.offsets, config.evaluation.cutoffs)
    figures = {metric: Figure(values[stages.users], one) for metric, values in ranked.items()}
    of_lists = lists.figures(stage.lists, items, sequences, stages.users, about, cold=COLD)
    figures |= {f"{kind}@{stages.list_length}": figure for kind, figure in of_lists.items()}
    values = {metric: figure.value for metric, figure in figures.items() if metric not in ranked}
    reach = dict(zip(figures, bootstrap_intervals(list(figures.values()), seed=config.seed), strict=True))
    for kind, (value, interval) in lists.aggregates(
        stage.lists, candidate_mask(config, items), seed=config.seed
    ).items():
        values[f"{kind}@{stages.list_length}"] = value
        reach[f"{kind}@{stages.list_length}"] = interval
    return values, reach


def _slice(config: Config, stages: Stages, part: Slice) -> dict[str, Any]:
    names = headline(config.evaluation.cutoffs)
    users, values, reach = _of_targets(config, stages, part.targets, names)
    return {
        "by": part.by,
        "name": part.name,
        "users": users,
        "small": users < MIN_USERS,
        "stages": values,
        "intervals": reach,
    }


def _of_targets(
    config: Config, stages: Stages, kept: np.ndarray, names: Sequence[str]
) -> tuple[int, dict[str, dict[str, float]], dict[str, dict[str, Any]]]:
    """How many users have some of these targets, and over them metrics of each stage with their intervals.

    Args:
      config: the configuration.
      stages: of which.
      kept: bool [targets].
      names: of the metrics.
    """
    targets = stages.targets.subset(kept)
    users = np.flatnonzero(np.diff(targets.offsets))
    figures: dict[tuple[str, str], Figure] = {}
    for name, stage in stages.by_name.items():
        found = metrics.per_user(stage.ranks[kept], targets.offsets, config.evaluation.cutoffs)
        figures |= {(name, metric): Figure(found[metric][users], np.ones(len(users))) for metric in names}
    reach = dict(zip(figures, bootstrap_intervals(list(figures.values()), seed=config.seed), strict=True))
    return (
        len(users),
        {name: {metric: figures[name, metric].value for metric in names} for name in stages.by_name},
        {name: {metric: reach[name, metric] for metric in names} for name in stages.by_name},
    )
