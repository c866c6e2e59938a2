"""Metrics of predicted ratings for slices of the held-out events, by TensorFlow Model Analysis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow_model_analysis as tfma

from trainer.evaluation.rating_metrics import is_one_sided
from trainer.evaluation.slices import Slice
from trainer.evaluation.target_ratings import TargetRatings
from trainer.evaluation.targets import Targets

_METRICS = {
    "example_count": "ExampleCount",
    "auc": "AUC",
    "binary_crossentropy": "BinaryCrossEntropy",
    "calibration": "Calibration",
    "mean_label": "MeanLabel",
    "mean_prediction": "MeanPrediction",
}
_LABEL, _PREDICTION = "label", "prediction"
_EVERYTHING = ("", "")  # kind and name of the slice with all ratings

SliceName = tuple[str, str]  # kind, name


def analyse(
    ratings: TargetRatings, liked_rating: float, targets: Targets, parts: list[Slice], output: Path
) -> list[dict[str, Any]]:
    """Metrics of the predicted probability that an item is liked, over all held-out ratings and over each slice.

    Args:
      ratings: held-out ratings and their predictions.
      liked_rating: the smallest rating of an item that counts as liked.
      targets: held-out events; if a user has two with one item, only the first one's rating counts.
      parts: slices of them.
      output: a directory for TFMA's own result, which `tfma.load_eval_result` reads.

    Returns:
      One dictionary for all ratings and one for each slice: `by` and `name` ("" for all), `ratings` (number), `users`
      (number who gave them), `auc`, `log_loss`, `calibration` (mean prediction over mean label, 1 is best), `liked`
      (share) and `said` (mean prediction). Undefined metrics are None.
    """
    target_at = {position: i for i, position in enumerate(targets.position.tolist())}
    target = np.array([target_at.get(position, -1) for position in ratings.position.tolist()], np.int64)
    ratings, target = ratings[target >= 0], target[target >= 0]
    measured = _run_tfma(_columns(ratings, liked_rating, target, parts), output)
    masks = {_EVERYTHING: np.ones(len(targets.item), bool), **{(part.by, part.name): part.targets for part in parts}}
    return [
        _row(name, len(np.unique(ratings.user[mask[target]])), measured[name])
        for name, mask in masks.items()
        if name in measured
    ]


def _columns(ratings: TargetRatings, liked_rating: float, target: np.ndarray, parts: list[Slice]) -> dict[str, Any]:
    """Label, prediction, and for each kind of slice the name of the slice that a rating is in; [ratings] each."""
    columns: dict[str, Any] = {
        _LABEL: ratings.liked(liked_rating).astype(float),
        _PREDICTION: ratings.liked_probability,
    }
    for part in parts:
        columns.setdefault(part.by, np.full(len(ratings), "", object))[part.targets[target]] = part.name
    return columns


def _run_tfma(columns: dict[str, Any], output: Path) -> dict[SliceName, dict[str, float]]:
    kinds = [name for name in columns if name not in (_LABEL, _PREDICTION)]
    specs = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key=_LABEL, prediction_key=_PREDICTION)],
        slicing_specs=[tfma.SlicingSpec(), *(tfma.SlicingSpec(feature_keys=[kind]) for kind in kinds)],
        metrics_specs=[tfma.MetricsSpec(metrics=[tfma.MetricConfig(class_name=name) for name in _METRICS.values()])],
    )
    result = tfma.analyze_raw_data(pd.DataFrame(columns), specs, output_path=str(output))
    measured = {}
    for key, metrics in result.slicing_metrics:
        (name,) = key or (_EVERYTHING,)
        measured[name] = {metric: metrics[""][""][metric]["doubleValue"] for metric in _METRICS}
    return measured


def _row(name: SliceName, users: int, metrics: dict[str, float]) -> dict[str, Any]:
    return {
        "by": name[0],
        "name": name[1],
        "ratings": int(metrics["example_count"]),
        "users": users,
        "auc": None if is_one_sided(metrics["mean_label"]) else metrics["auc"],
        "log_loss": metrics["binary_crossentropy"],
        "calibration": metrics["calibration"] if metrics["mean_label"] else None,
        "liked": metrics["mean_label"],
        "said": metrics["mean_prediction"],
    }
