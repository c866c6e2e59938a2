"""Measures predicted ratings against held-out ones: the `ratings` of `evaluation.schema.json`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from trainer.config import Config
from trainer.evaluation.rating_metrics import auc, calibration_error, log_losses, reliability
from trainer.evaluation.target_ratings import TargetRatings
from trainer.evaluation.uncertainty import MIN_USERS, Figure, bootstrap_intervals, jackknife_interval

THRESHOLD = 0.5  # an item is predicted to be liked if its probability is at least this
MIN_PROBABILITY = 1e-7
MIN_RATINGS = MIN_USERS  # of an evaluation, and of a part of the reliability curve


def evaluate_ratings(config: Config, ratings: TargetRatings) -> dict[str, Any] | None:
    """Metrics of predicted ratings; None for fewer than MIN_RATINGS ratings.

    Returns:
      `ratings`, `users`: how many; `values`, `intervals` (over users) of `rmse`, `mae`, `log_loss`, `auc`,
      `calibration_error`, and of `accuracy`, `precision`, `recall`, `f1`, for which an item is predicted to be liked if
      the probability is at least THRESHOLD; `of_one_for_all`: `rmse` and `log_loss` of predicting the mean for
      everybody; `reliability`: parts with `probability`, `share`, `ratings`. AUC is None where undefined.
    """
    if len(ratings) < MIN_RATINGS:
        return None
    liked = ratings.liked(config.ranking.liked_rating)
    probability = np.clip(ratings.liked_probability, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    users, user = np.unique(ratings.user, return_inverse=True)
    values, bounds = _means(ratings, liked, probability, user, config.seed)
    # These are not means over users, so their intervals are computed by the jackknife.
    statistics: dict[str, Callable[[np.ndarray], float | None]] = {
        "auc": lambda rows: auc(liked[rows], probability[rows]),
        "calibration_error": lambda rows: calibration_error(liked[rows], probability[rows], MIN_RATINGS),
    }
    for name, statistic in statistics.items():
        values[name] = statistic(np.ones(len(ratings), bool))
        bounds[name] = jackknife_interval(
            lambda mask, of_rows=statistic: of_rows(mask[user]),  # type: ignore[misc]
            len(users),
            seed=config.seed,
        )
    result = {
        "ratings": len(ratings),
        "users": len(users),
        "liked_rating": config.ranking.liked_rating,
        "values": values,
        "intervals": bounds,
        "of_one_for_all": {"rmse": ratings.rating.std(), "log_loss": _entropy(liked.mean())},
        "reliability": [dataclasses.asdict(part) for part in reliability(liked, probability, MIN_RATINGS)],
    }
    return _plain(result)


def _means(
    ratings: TargetRatings, liked: np.ndarray, probability: np.ndarray, user: np.ndarray, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metrics that are means over ratings, or ratios of two, and their intervals; `user` int64 [m] from 0."""

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(user, weights=values)

    count = np.bincount(user).astype(np.float64)
    error = ratings.predicted_rating - ratings.rating
    predicted = probability >= THRESHOLD
    hits, predictions, positives = total(predicted & liked), total(predicted), total(liked)
    figures = {
        "rmse": Figure(total(error**2), count, bounded=False),  # the mean square; its root is taken below
        "mae": Figure(total(np.abs(error)), count, bounded=False),
        "log_loss": Figure(total(log_losses(liked, probability)), count, bounded=False),
        "accuracy": Figure(total(predicted == liked), count),
        "precision": Figure(hits, predictions),
        "recall": Figure(hits, positives),
        "f1": Figure(2 * hits, predictions + positives),
    }
    values: dict[str, Any] = {name: figure.value for name, figure in figures.items()}
    bounds: dict[str, Any] = dict(zip(figures, bootstrap_intervals(list(figures.values()), seed=seed), strict=True))
    values["rmse"] = np.sqrt(values["rmse"])
    bounds["rmse"] = tuple(np.sqrt(bounds["rmse"])) if bounds["rmse"] else None
    return values, bounds


def _entropy(share: float) -> float:
    """The log loss of predicting `share` for everybody."""
    return float(-sum(p * np.log(p) for p in (share, 1 - share) if p > 0))


def _plain(value: Any) -> Any:
    """The value with NumPy numbers replaced by Python's, for JSON."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value
