from __future__ import annotations

import numpy as np
import pytest

from trainer.ranking.listwise_weights import fit_weights


def lists(weights: np.ndarray, count: int, missing: bool = False) -> np.ndarray:
    """Lists of eight candidates whose first was drawn from the softmax under `weights`."""
    random = np.random.default_rng(5)
    features = random.normal(size=[count, 8, len(weights)]) * [1.0, 10.0, 0.1]
    logits = features @ weights + random.gumbel(size=[count, 8])
    chosen = logits.argmax(axis=1)
    rows = np.arange(count)
    features[rows, 0], features[rows, chosen] = features[rows, chosen], features[rows, 0].copy()
    if missing:
        features[:, 5:] = np.nan
    return features


@pytest.mark.parametrize("missing", [False, True], ids=["full", "with places left empty"])
def test_true_weights_of_choices_are_recovered(missing: bool) -> None:
    weights = np.array([1.5, -0.1, 4.0])
    result = fit_weights(lists(weights, 4_000, missing), np.zeros(3))
    np.testing.assert_allclose(result * [1.0, 10.0, 0.1], weights * [1.0, 10.0, 0.1], atol=0.1)


def test_few_lists_stay_near_the_start_and_none_at_it() -> None:
    start = np.array([1.0, 0.0, 0.0])
    np.testing.assert_array_equal(fit_weights(np.zeros([0, 8, 3]), start), start)
    result = fit_weights(lists(np.array([-3.0, 0.0, 0.0]), 1), start)
    assert abs(result[0] - 1.0) < 1.0


def test_a_constant_feature_changes_nothing() -> None:
    features = lists(np.array([1.0, 0.1, 1.0]), 500)
    constant = np.concatenate([features, np.full([500, 8, 1], 7.0)], axis=2)
    expected = fit_weights(features, np.zeros(3))
    np.testing.assert_allclose(fit_weights(constant, np.zeros(4)), [*expected, 0.0], atol=1e-3)
