"""Weights of a listwise linear model: which of a list's candidates was chosen (McFadden's conditional logit, 1974)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

PENALTY = 1.0  # of a step away from `start` by one standard deviation of the logit


def fit_weights(features: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The weights under which the chosen candidates are most likely, kept near `start` by a Gaussian prior.

    Args:
      features: float [lists, N, F]; the first candidate of each list is the one that was chosen. A place without a
        candidate is NaN.
      start: float [F], the weights without any list.

    Returns:
      float64 [F]
    """
    if not len(features):
        return start.astype(np.float64)
    present = ~np.isnan(features).any(axis=2)  # [lists, N]
    spread = features[present].std(axis=0, dtype=np.float64)
    spread = np.where(spread > 0, spread, 1.0)
    scaled = np.where(present[..., np.newaxis], features / spread, 0.0)
    origin = start * spread

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = np.where(present, scaled @ weights, -np.inf)
        log_likelihood = log_softmax(logits, axis=1)
        away = weights - origin
        expected = np.einsum("ln,lnf->f", np.exp(log_likelihood), scaled)
        value = -log_likelihood[:, 0].sum() + PENALTY * away @ away
        return value, expected - scaled[:, 0].sum(axis=0) + 2 * PENALTY * away

    return minimize(loss, origin, jac=True, method="L-BFGS-B").x / spread
