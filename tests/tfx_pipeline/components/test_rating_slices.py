"""TFMA's metrics of predicted ratings, against scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow_model_analysis as tfma
from sklearn import metrics as sk

from tfx_pipeline.components import rating_slices
from trainer.evaluation.slices import Slice
from trainer.evaluation.target_ratings import TargetRatings
from trainer.evaluation.targets import Targets

pytestmark = pytest.mark.slow


def test_slices_are_those_of_an_independent_implementation(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    count = 600
    given = random.integers(1, 6, count).astype(float)
    liked = np.clip(given / 5 + random.normal(0, 0.3, count), 0.01, 0.99)
    # Flat positions in an order of their own; one rating is of an event that is no target.
    place = random.permutation(count) * 3
    who = np.arange(count) // 2  # two ratings each
    ratings = TargetRatings(who, place, given, given, liked)
    kept = np.sort(place)[:-1]
    targets = Targets(np.ones(len(kept), np.int32), kept, np.arange(len(kept) + 1))
    young, loved = kept % 2 == 0, np.isin(kept, place[given == 5])
    parts = [
        Slice("profile: age", "young", young),
        Slice("profile: age", "old", ~young),
        Slice("history", "loved alone", loved),
    ]
    rows = rating_slices.analyse(ratings, 4.0, targets, parts, tmp_path / "tfma")
    assert [(row["by"], row["name"]) for row in rows] == [
        ("", ""),
        ("profile: age", "young"),
        ("profile: age", "old"),
        ("history", "loved alone"),
    ]
    of_place = {p: i for i, p in enumerate(place.tolist())}
    order = np.array([of_place[p] for p in kept.tolist()])
    for row, within in zip(rows, [np.ones(len(kept), bool), young, ~young, loved], strict=True):
        label, probability = given[order[within]] >= 4, liked[order[within]]
        assert row["ratings"] == within.sum()
        assert row["users"] == len(set(who[order[within]]))
        assert row["liked"] == pytest.approx(label.mean())
        assert row["said"] == pytest.approx(probability.mean())
        assert row["calibration"] == pytest.approx(probability.mean() / label.mean())
        if label.all():
            assert row["auc"] is None
        else:
            assert row["auc"] == pytest.approx(sk.roc_auc_score(label, probability), abs=1e-4)
            assert row["log_loss"] == pytest.approx(sk.log_loss(label, probability), abs=1e-4)
    kept_by_tfma = tfma.load_eval_result(str(tmp_path / "tfma"))
    assert len(kept_by_tfma.slicing_metrics) >= len(rows)
