"""What is said of ratings: its weights, fitted to ratings that nothing was trained on, and how good it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

START = np.array([0.0, 1.0, 0.0, 0.0])  # of `RankingModel.calibration_inputs`'s signs: what the network's head says
PENALTY = 1.0  # of a step away from START by one standard deviation of what is said
PART = 100  # ratings whose mean probability is compared with the share of them that was liked

Fit = Callable[[np.ndarray, np.ndarray], np.ndarray]


def fit_rating(signs: np.ndarray, ratings: np.ndarray) -> np.ndarray:
    """Weights under which the signs sum up to ratings best: ridge regression around START.

    Args:
      signs: float [n, 4], the first column 1.
      ratings: float [n].

    Returns:
      float64 [4]
    """
    if not len(ratings):
        return START
    prior = np.diag(np.sqrt(PENALTY) * signs.std(axis=0, dtype=np.float64))
    rows = np.concatenate([signs.astype(np.float64), prior])
    wanted = np.concatenate([ratings - signs @ START, np.zeros(len(START))])
    return START + np.linalg.lstsq(rows, wanted, rcond=None)[0]


def fit_liked(signs: np.ndarray, liked: np.ndarray) -> np.ndarray:
    """Weights under which the signs sum up to calibrated logits: logistic regression around START.

    The outcomes are smoothed as Platt (1999) does, so that a few of one kind do not make for certainty.

    Args:
      signs: float [n, 4], the first column 1.
      liked: bool [n].

    Returns:
      float64 [4]
    """
    if not len(liked):
        return START
    positive = int(liked.sum())
    wanted = np.where(liked, (positive + 1) / (positive + 2), 1 / (len(liked) - positive + 2))
    prior = PENALTY * signs.var(axis=0, dtype=np.float64)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits, away = signs @ weights, weights - START
        error = 1 / (1 + np.exp(-logits)) - wanted
        value = (np.logaddexp(0, logits) - wanted * logits).sum() + prior @ away**2
        return value, error @ signs + 2 * prior * away

    return minimize(loss, START, jac=True, method="L-BFGS-B").x


def rating_error(signs: np.ndarray, ratings: np.ndarray, fold: np.ndarray) -> dict[str, float]:
    """Root mean squared error of ratings, each said with weights that were fitted to other folds.

    Args:
      signs, ratings: as for `fit_rating`.
      fold: int [n], 0 or 1.

    Returns:
      `rmse`, and `rmse_of_the_mean`: of one rating for all. In units of `ratings`.
    """
    mean = _of_other_fold(
        lambda _, others: np.array([others.sum() / max(1, len(others)), 0, 0, 0]), signs, ratings, fold
    )
    said = _of_other_fold(fit_rating, signs, ratings, fold)
    return {
        "rmse": float(np.sqrt(((said - ratings) ** 2).mean())),
        "rmse_of_the_mean": float(np.sqrt(((mean - ratings) ** 2).mean())),
    }


def liked_error(signs: np.ndarray, liked: np.ndarray, fold: np.ndarray) -> dict[str, float]:
    """How good the probability of being liked is, each said with weights that were fitted to other folds.

    Args:
      signs, liked: as for `fit_liked`.
      fold: int [n], 0 or 1.

    Returns:
      `log_loss`, and `log_loss_of_the_share`: that of one probability for all; `calibration_error`: mean distance of
      probability and share over up to ten equally large parts (Naeini et al., 2015), none so small that chance alone
      would put the two far apart.
    """

    def share(_: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.array([np.log((others.sum() + 1) / ((~others).sum() + 1)), 0, 0, 0])

    probability = 1 / (1 + np.exp(-_of_other_fold(fit_liked, signs, liked, fold)))
    simple = 1 / (1 + np.exp(-_of_other_fold(share, signs, liked, fold)))
    count = int(np.clip(len(liked) // PART, 1, 10))
    parts = np.array_split(np.argsort(probability, kind="stable"), count)
    distances = [len(part) * abs(probability[part].mean() - liked[part].mean()) for part in parts]
    return {
        "log_loss": _log_loss(probability, liked),
        "log_loss_of_the_share": _log_loss(simple, liked),
        "calibration_error": float(np.sum(distances) / len(liked)),
    }


def _of_other_fold(fit: Fit, signs: np.ndarray, outcomes: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """What signs sum up to with weights that were fitted to the other fold: float64 [n]."""
    said = np.zeros(len(outcomes))
    for part in (0, 1):
        mine = fold == part
        said[mine] = signs[mine] @ fit(signs[~mine], outcomes[~mine])
    return said


def _log_loss(probability: np.ndarray, outcome: np.ndarray) -> float:
    likelihood = np.clip(np.where(outcome, probability, 1 - probability), 1e-12, 1.0)
    return float(-np.log(likelihood).mean())
