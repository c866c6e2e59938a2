"""Fits a linear model of which candidate of a list is chosen: the conditional logit (McFadden, 1974)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

PENALTY = 1.0  # added to the loss if a weight's change from `start` changes logits with a standard deviation of 1


def fit_weights(features: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The weights under which the chosen candidates are most likely, kept near `start` by a Gaussian prior.

    Args:
      features: float [lists, N, F]; the first candidate of each list is the chosen one. NaN where there is no
        candidate.
      start: float [F], the weights if there are no lists.

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
        step = weights - origin
        expected = np.einsum("ln,lnf->f", np.exp(log_likelihood), scaled)
        value = -log_likelihood[:, 0].sum() + PENALTY * step @ step
        return value, expected - scaled[:, 0].sum(axis=0) + 2 * PENALTY * step

    return minimize(loss, origin, jac=True, method="L-BFGS-B").x / spread
