"""What the ranking model says of ratings, sliced by TensorFlow Model Analysis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow_model_analysis as tfma

from trainer.evaluation.slices import Slice
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


def analyse(
    said: dict[str, np.ndarray], liked_rating: float, targets: Targets, parts: list[Slice], output: Path
) -> list[dict[str, Any]]:
    """Metrics of the probability of being liked, over all held-out ratings and over each slice.

    Args:
      said: see `trainer.evaluation.ratings.predict_target_ratings`.
      liked_rating: from where on a rating says that the item was liked.
      targets: held-out events; of an item that a user has twice among them, the first rating counts.
      parts: slices of them.
      output: a directory that will hold TFMA's own result, for `tfma.load_eval_result`.

    Returns:
      for all, and for each slice: `by` and `name` ("" for all), `ratings`, `users` who gave them, `auc`, `log_loss`,
      `calibration` (mean prediction over mean label, 1 is best), `liked` (share) and `said` (mean prediction); None
      where undefined.
    """
    of_place = {place: i for i, place in enumerate(targets.position.tolist())}
    target = np.array([of_place.get(place, -1) for place in said["place"].tolist()], np.int64)
    kept = target >= 0
    columns: dict[str, Any] = {
        _LABEL: (said["given"][kept] >= liked_rating).astype(float),
        _PREDICTION: said["liked"][kept],
    }
    kinds = list(dict.fromkeys(part.by for part in parts))
    for kind in kinds:
        names = np.full(len(targets.item), "", object)
        for part in (part for part in parts if part.by == kind):
            names[part.targets] = part.name
        columns[kind] = names[target[kept]]
    specs = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key=_LABEL, prediction_key=_PREDICTION)],
        slicing_specs=[tfma.SlicingSpec(), *(tfma.SlicingSpec(feature_keys=[kind]) for kind in kinds)],
        metrics_specs=[tfma.MetricsSpec(metrics=[tfma.MetricConfig(class_name=name) for name in _METRICS.values()])],
    )
    result = tfma.analyze_raw_data(pd.DataFrame(columns), specs, output_path=str(output))
    found = {}
    for key, metrics in result.slicing_metrics:
        ((kind, name),) = key or (("", ""),)
        found[kind, name] = {metric: metrics[""][""][metric]["doubleValue"] for metric in _METRICS}
    within = {("", ""): np.ones(len(targets.item), bool), **{(part.by, part.name): part.targets for part in parts}}
    rows = []
    for (kind, name), some in within.items():
        if (kind, name) in found:
            users = len(np.unique(said["user"][kept][some[target[kept]]]))
            rows.append(_row(kind, name, users, found[kind, name]))
    return rows


def _row(kind: str, name: str, users: int, metrics: dict[str, float]) -> dict[str, Any]:
    one_sided = metrics["mean_label"] in (0.0, 1.0)  # then there are no pairs to order
    return {
        "by": kind,
        "name": name,
        "ratings": int(metrics["example_count"]),
        "users": users,
        "auc": None if one_sided else metrics["auc"],
        "log_loss": metrics["binary_crossentropy"],
        "calibration": metrics["calibration"] if metrics["mean_label"] else None,
        "liked": metrics["mean_label"],
        "said": metrics["mean_prediction"],
    }
