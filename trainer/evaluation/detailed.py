"""The full evaluation of a run's recommenders: figures with intervals, slices and significant differences."""

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
from trainer.evaluation.baselines import item_text_vectors, tuned_baselines
from trainer.evaluation.candidates import candidate_mask
from trainer.evaluation.document import FORMAT, MODELS
from trainer.evaluation.evaluate import cold_targets, means
from trainer.evaluation.full_ranking import RankingTask, rank_with_scorer, target_ranks
from trainer.evaluation.per_user import headline, headline_figures
from trainer.evaluation.protocols import Ranker, Retriever, Scorer
from trainer.evaluation.ratings import evaluate_ratings
from trainer.evaluation.slices import COLD_EVENTS, Slice, slices
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

MAX_TUNING_USERS = 2_000  # largest number of validation users on which baselines are tuned

Values = dict[str, dict[str, float]]  # stage -> metric -> value
Intervals = dict[str, dict[str, Any]]  # stage -> metric -> (low, high) or None


@dataclass(frozen=True)
class Evaluated:
    """An evaluation and its intermediate results.

    Attributes:
      document: the evaluation, as `evaluation.schema.json` describes it.
      stages: ranks and lists of each recommender.
      target_ratings: ratings of held-out events and predictions for them; None if no ratings are predicted.
    """

    document: dict[str, Any]
    stages: Stages
    target_ratings: TargetRatings | None


@dataclass(frozen=True)
class EvaluationData:
    """The data that an evaluation reads in addition to ranks and lists.

    Attributes:
      items: the catalogue.
      train: the train split.
      sequences: the evaluated split.
      text_vectors: float32 [n + 1, width], see `baselines.item_text_vectors`; None without texts.
      languages: object (str) [texts], see `slices.slices`; None if unknown.
    """

    items: ItemTable
    train: SequenceTable
    sequences: SequenceTable
    text_vectors: np.ndarray | None = None
    languages: np.ndarray | None = None


def evaluate_in_detail(
    config: Config,
    model: Retriever,
    dataset: Dataset,
    split: str,
    ranking: Ranker | None,
    languages: np.ndarray | None = None,
) -> Evaluated:
    """Evaluates the run's models, and every baseline that the data allows.

    Args:
      config: the configuration.
      model: the retrieval model, attached to the catalogue.
      dataset: has the splits `train`, `validation` (to tune baselines) and `split`.
      split: name of the evaluated split.
      ranking: the ranking model on top, or None.
      languages: object (str) [texts], see `slices.slices`.
    """
    items, train, sequences = dataset.items, dataset.train, dataset.splits[split]
    data = EvaluationData(items, train, sequences, item_text_vectors(items, train, dataset.texts), languages)
    measure = _tuning_measure(config, items, dataset.splits["validation"])
    baselines = tuned_baselines(config, items, train, data.text_vectors, measure)
    stages = rank_stages(config, model, items, sequences, ranking, baselines)
    document = build_document(config, stages, data)
    document["ratings"], target_ratings = None, None
    if ranking is not None and ranking.rated and sequences.rating is not None:
        target_ratings = predict_target_ratings(config, model, ranking, sequences)
        document["ratings"] = evaluate_ratings(config, target_ratings)
    return Evaluated(document, stages, target_ratings)


def _tuning_measure(config: Config, items: ItemTable, validation: SequenceTable) -> Callable[[Scorer], float]:
    """Makes a function that measures a scorer: the sum of the main metric over a sample of the validation users."""
    targets = targets_of(validation)
    users = np.flatnonzero(np.diff(targets.offsets))
    if len(users) > MAX_TUNING_USERS:
        users = np.random.default_rng(config.seed).choice(users, MAX_TUNING_USERS, replace=False)
    cutoffs = config.evaluation.cutoffs
    metric = headline(cutoffs)[0]
    task = RankingTask(config, items, validation, k=max(cutoffs), users=users)

    def measure(scorer: Scorer) -> float:
        ranks = target_ranks(rank_with_scorer(task, scorer), targets)
        return float(metrics.per_user(ranks, targets.offsets, cutoffs)[metric].sum())

    return measure


def build_document(config: Config, stages: Stages, data: EvaluationData) -> dict[str, Any]:
    """The evaluation as `evaluation.schema.json` describes it, without `ratings`."""
    items = data.items
    document = {
        "format": FORMAT,
        "confidence": CONFIDENCE,
        "few_users": MIN_USERS,
        "targets": len(stages.targets.item),
        "list_length": stages.list_length,
        "candidates": _candidates(config, items),
        **means(config, stages, items),
    }
    all_metrics = [f"{name}@{k}" for k in config.evaluation.cutoffs for name in METRICS]
    users, _, cold_intervals = _target_figures(config, stages, cold_targets(stages, items), all_metrics)
    document["cold"] |= {"small": users < MIN_USERS, "intervals": cold_intervals}
    document["intervals"] = {}
    for name in stages.by_name:
        list_values, document["intervals"][name] = _stage_figures(config, stages, name, data)
        document["stages"][name] |= list_values
    parts = slices(
        items, data.sequences, data.train, stages.targets, clock=has_clock(config.data), languages=data.languages
    )
    document["slices_by"] = list(headline(config.evaluation.cutoffs))
    document["slices"] = [_slice(config, stages, part) for part in parts]
    document["comparisons"] = comparisons(config, stages)
    document["exposure"] = lists.exposure_by_popularity(
        {name: stage.lists for name, stage in stages.by_name.items()}, items, candidate_mask(config, items)
    )
    return document


def _candidates(config: Config, items: ItemTable) -> dict[str, Any]:
    """Which items were ranked. `digest` is equal for two evaluations if they ranked the same items."""
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
        results = differences(
            [values[other][metric] for _, other in pairs],
            [values[model][metric] for model, _ in pairs],
            seed=config.seed,
        )
        adjusted = holm([difference.p_value for difference in results])
        for (model, other), difference, p_value in zip(pairs, results, adjusted, strict=True):
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


def _stage_figures(
    config: Config, stages: Stages, name: str, data: EvaluationData
) -> tuple[dict[str, float], dict[str, Any]]:
    """The list metrics of a stage, and the intervals of its ranking and list metrics."""
    stage, one, length = stages.by_name[name], np.ones(len(stages.users)), stages.list_length
    by_user = metrics.per_user(stage.ranks, stages.targets.offsets, config.evaluation.cutoffs)
    figures = {metric: Figure(values[stages.users], one) for metric, values in by_user.items()}
    list_figures = lists.figures(
        stage.lists, data.items, data.sequences, stages.users, data.text_vectors, cold=COLD_EVENTS
    )
    figures |= {f"{metric}@{length}": figure for metric, figure in list_figures.items()}
    values = {metric: figure.value for metric, figure in figures.items() if metric not in by_user}
    bounds: dict[str, Any] = dict(
        zip(figures, bootstrap_intervals(list(figures.values()), seed=config.seed), strict=True)
    )
    aggregates = lists.aggregates(stage.lists, candidate_mask(config, data.items), seed=config.seed)
    for metric, (value, interval) in aggregates.items():
        values[f"{metric}@{length}"] = value
        bounds[f"{metric}@{length}"] = interval
    return values, bounds


def _slice(config: Config, stages: Stages, part: Slice) -> dict[str, Any]:
    users, values, bounds = _target_figures(config, stages, part.targets, headline(config.evaluation.cutoffs))
    return {
        "by": part.by,
        "name": part.name,
        "users": users,
        "small": users < MIN_USERS,
        "stages": values,
        "intervals": bounds,
    }


def _target_figures(
    config: Config, stages: Stages, mask: np.ndarray, names: Sequence[str]
) -> tuple[int, Values, Intervals]:
    """Metrics over a part of the targets.

    Args:
      config: the configuration.
      stages: the recommenders.
      mask: bool [targets], which targets count.
      names: names of metrics.

    Returns:
      the number of users with such targets, the metrics of each stage over these users, and their intervals.
    """
    targets = stages.targets.subset(mask)
    users = np.flatnonzero(np.diff(targets.offsets))
    figures: dict[tuple[str, str], Figure] = {}
    for name, stage in stages.by_name.items():
        values = metrics.per_user(stage.ranks[mask], targets.offsets, config.evaluation.cutoffs)
        figures |= {(name, metric): Figure(values[metric][users], np.ones(len(users))) for metric in names}
    bounds = dict(zip(figures, bootstrap_intervals(list(figures.values()), seed=config.seed), strict=True))
    return (
        len(users),
        {name: {metric: figures[name, metric].value for metric in names} for name in stages.by_name},
        {name: {metric: bounds[name, metric] for metric in names} for name in stages.by_name},
    )
