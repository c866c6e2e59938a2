from __future__ import annotations

import numpy as np
import pytest

from trainer.ranking.rating_calibration import START, fit_liked, fit_rating, liked_error, rating_error

WEIGHTS = np.array([1.0, 0.4, 2.0, -0.5])


def signs(count: int) -> np.ndarray:
    drawn = np.random.default_rng(2).normal(size=[count, 3])
    return np.column_stack([np.ones(count), drawn * [1.0, 0.5, 0.7]]).astype(np.float32)


def test_true_weights_of_ratings_are_recovered() -> None:
    given = signs(5_000)
    ratings = given @ WEIGHTS + np.random.default_rng(3).normal(size=5_000)
    np.testing.assert_allclose(fit_rating(given, ratings), WEIGHTS, atol=0.1)


def test_probabilities_are_calibrated() -> None:
    given = signs(20_000)
    liked = np.random.default_rng(3).random(20_000) < 1 / (1 + np.exp(-given @ WEIGHTS))
    np.testing.assert_allclose(fit_liked(given, liked), WEIGHTS, atol=0.15)
    always = fit_liked(given[:50], np.ones(50, bool))
    assert np.isfinite(always).all()
    assert 1 / (1 + np.exp(-always[0])) < 0.999, "all alike: still a probability below one"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_ratings_change_weights_little(count: int) -> None:
    given = signs(count)
    np.testing.assert_allclose(fit_rating(given, np.full(count, -3.0))[1:], START[1:], atol=1.5)
    np.testing.assert_allclose(fit_liked(given, np.zeros(count, bool))[1:], START[1:], atol=1.5)


def test_errors_are_cross_validated() -> None:
    """Where a sign tells one fold's ratings, and its opposite the other's, neither helps with the other's."""
    given, fold = signs(4_000), np.arange(4_000) % 2
    clear = given @ WEIGHTS
    error = rating_error(given, clear, fold)
    assert error["rmse"] < 0.01 < error["rmse_of_the_mean"] == pytest.approx(clear.std(), rel=0.01)
    assert liked_error(given, clear > 0, fold)["log_loss"] < 0.1
    turned = np.where(fold == 0, clear, -clear)
    assert rating_error(given, turned, fold)["rmse"] > rating_error(given, turned, fold)["rmse_of_the_mean"]
    wrong = liked_error(given, turned > 0, fold)
    assert wrong["log_loss"] > wrong["log_loss_of_the_share"]


def test_calibration_error_is_a_distance_of_probability_and_share() -> None:
    random = np.random.default_rng(4)
    given, fold = signs(4_000), np.arange(4_000) % 2
    liked = random.random(4_000) < 1 / (1 + np.exp(-given @ WEIGHTS))
    assert liked_error(given, liked, fold)["calibration_error"] < 0.05
    other_half = np.where(fold == 0, liked, ~liked)
    assert liked_error(given, other_half, fold)["calibration_error"] > 0.2


def test_all_in_one_fold() -> None:
    given = signs(10)
    for errors in (
        rating_error(given, given[:, 1], np.zeros(10, int)),
        liked_error(given, given[:, 1] > 0, np.zeros(10, int)),
    ):
        assert np.isfinite(list(errors.values())).all()
