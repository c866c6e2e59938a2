"""Calibrates predicted ratings on held-out events, and measures their errors by cross-validation.

A prediction is a weighted sum of the rating features that `RankingModel.calibration_inputs` returns: 1, the output of a
head of the network, and two rating biases.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from trainer.evaluation.rating_metrics import calibration_error, log_losses
from trainer.ranking.model import HEAD_ONLY

START = np.array(HEAD_ONLY)  # the weights if there are no ratings
PENALTY = 1.0  # added to the loss if a weight's change from START changes predictions with a standard deviation of 1
MIN_PART = 100  # smallest number of ratings in a part of the calibration error

Fit = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (features, outcomes) -> weights


def fit_rating(features: np.ndarray, ratings: np.ndarray) -> np.ndarray:
    """Fits weights whose weighted sum of the features predicts ratings: ridge regression around START.

    Args:
      features: float [n, 4], the first column 1.
      ratings: float [n].

    Returns:
      float64 [4]
    """
    if not len(ratings):
        return START
    prior = np.diag(np.sqrt(PENALTY) * features.std(axis=0, dtype=np.float64))
    rows = np.concatenate([features.astype(np.float64), prior])
    residual = np.concatenate([ratings - features @ START, np.zeros(len(START))])
    return START + np.linalg.lstsq(rows, residual, rcond=None)[0]


def fit_liked(features: np.ndarray, liked: np.ndarray) -> np.ndarray:
    """Fits weights whose weighted sum of the features is a calibrated logit: logistic regression around START.

    The outcomes are smoothed as in Platt (1999), so that a few equal outcomes do not lead to probabilities of 0 or 1.

    Args:
      features: float [n, 4], the first column 1.
      liked: bool [n].

    Returns:
      float64 [4]
    """
    if not len(liked):
        return START
    positive = int(liked.sum())
    outcome = np.where(liked, (positive + 1) / (positive + 2), 1 / (len(liked) - positive + 2))
    prior = PENALTY * features.var(axis=0, dtype=np.float64)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits, step = features @ weights, weights - START
        error = 1 / (1 + np.exp(-logits)) - outcome
        value = (np.logaddexp(0, logits) - outcome * logits).sum() + prior @ step**2
        return value, error @ features + 2 * prior * step

    return minimize(loss, START, jac=True, method="L-BFGS-B").x


def rating_error(features: np.ndarray, ratings: np.ndarray, fold: np.ndarray) -> dict[str, float]:
    """Root mean squared errors of ratings, each predicted with weights that were fitted to the other fold.

    Args:
      features, ratings: as for `fit_rating`.
      fold: int [n], 0 or 1.

    Returns:
      `rmse`; `rmse_of_the_mean`, the error of predicting the mean rating for all. Both are in units of `ratings`.
    """
    mean = _cross_predict(
        lambda _, others: np.array([others.sum() / max(1, len(others)), 0, 0, 0]), features, ratings, fold
    )
    predictions = _cross_predict(fit_rating, features, ratings, fold)
    return {
        "rmse": float(np.sqrt(((predictions - ratings) ** 2).mean())),
        "rmse_of_the_mean": float(np.sqrt(((mean - ratings) ** 2).mean())),
    }


def liked_error(features: np.ndarray, liked: np.ndarray, fold: np.ndarray) -> dict[str, float]:
    """Errors of the probability of being liked, each predicted with weights that were fitted to the other fold.

    Args:
      features, liked: as for `fit_liked`.
      fold: int [n], 0 or 1.

    Returns:
      `log_loss`; `log_loss_of_the_share`, the log loss of predicting the share of liked items for all;
      `calibration_error`, over parts of at least MIN_PART ratings: in smaller parts, probability and share differ by
      chance.
    """

    def share(_: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.array([np.log((others.sum() + 1) / ((~others).sum() + 1)), 0, 0, 0])

    probability = 1 / (1 + np.exp(-_cross_predict(fit_liked, features, liked, fold)))
    baseline = 1 / (1 + np.exp(-_cross_predict(share, features, liked, fold)))
    return {
        "log_loss": float(log_losses(liked, probability).mean()),
        "log_loss_of_the_share": float(log_losses(liked, baseline).mean()),
        "calibration_error": calibration_error(liked, probability, MIN_PART),
    }


def _cross_predict(fit: Fit, features: np.ndarray, outcomes: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Weighted sums of the features, with weights that were fitted to the other fold: float64 [n]."""
    predictions = np.zeros(len(outcomes))
    for part in (0, 1):
        mine = fold == part
        predictions[mine] = features[mine] @ fit(features[~mine], outcomes[~mine])
    return predictions
