"""Metrics of the predicted probability that a rating is at least `ranking.liked_rating`, "liked" for short."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MIN_LIKELIHOOD = 1e-12  # smaller likelihoods count as this one, so that a log loss is finite
MAX_PARTS = 10  # of a reliability curve


@dataclass(frozen=True)
class ReliabilityPart:
    """A part of a reliability curve: ratings with similar predicted probabilities of being liked.

    Attributes:
      probability: the mean of the predictions.
      share: the share of the ratings that are liked.
      ratings: how many ratings there are.
    """

    probability: float
    share: float
    ratings: int


def log_losses(liked: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """The negative log-likelihood of each outcome: bool [n], float [n] -> float64 [n]."""
    likelihood = np.where(liked, probability, 1 - probability)
    return -np.log(np.clip(likelihood, MIN_LIKELIHOOD, 1.0))


def auc(liked: np.ndarray, probability: np.ndarray) -> float | None:
    """Area under the ROC curve (Hanley & McNeil, 1982); None if all ratings are liked, or none is."""
    from sklearn import metrics as sk

    return None if is_one_sided(liked.mean()) else float(sk.roc_auc_score(liked, probability))


def is_one_sided(liked_share: float) -> bool:
    """Whether all ratings are liked, or none is: then there are no pairs to order, and the AUC is undefined."""
    return not 0.0 < liked_share < 1.0


def reliability(liked: np.ndarray, probability: np.ndarray, min_ratings: int) -> list[ReliabilityPart]:
    """Divides the ratings by predicted probability into parts of equal size.

    Args:
      liked: bool [n].
      probability: float [n].
      min_ratings: smallest size of a part, if there are that many ratings. There are at most MAX_PARTS parts.

    Returns:
      the parts in the order of their probabilities.
    """
    count = min(MAX_PARTS, max(1, len(probability) // min_ratings))
    parts = np.array_split(np.argsort(probability, kind="stable"), count)
    return [ReliabilityPart(probability[part].mean(), liked[part].mean(), len(part)) for part in parts]


def calibration_error(liked: np.ndarray, probability: np.ndarray, min_ratings: int) -> float:
    """Expected calibration error (Naeini et al., 2015): the mean distance of probability and share over the parts.

    See `reliability` for the arguments.
    """
    parts = reliability(liked, probability, min_ratings)
    return float(sum(part.ratings * abs(part.probability - part.share) for part in parts) / len(probability))
