"""Synthetic item and user vectors, and their exact neighbours, for measuring an index."""

from __future__ import annotations

import numpy as np

_ITEMS_A_CLUSTER = 250
WIDE = 1.25  # spread of a cluster, relative to the length of its centre
_USER_SPREAD = 0.4
_NORM_DEVIATION = 0.25  # of the logarithm
_MAX_SCORES = 64_000_000  # in memory at once


def make(items: int, queries: int, dim: int, seed: int, spread: float = WIDE) -> tuple[np.ndarray, np.ndarray]:
    """Item vectors like those of item towers: clustered, with clusters of different sizes and unequal norms.

    Users lie between clusters; the probability of a cluster is proportional to its number of items. The wider the
    clusters, the more of them contain a user's nearest items, and the harder is the search.

    Returns:
      items float32 [items + 1, dim], row 0 the unknown item, and queries float32 [queries, dim].
    """
    random = np.random.default_rng(seed)
    clusters = max(2, items // _ITEMS_A_CLUSTER)
    centres = random.standard_normal((clusters, dim), np.float32) / np.sqrt(dim)
    popularity = 1 / np.arange(10, clusters + 10) ** 0.5
    popularity /= popularity.sum()
    vectors = _near(random, centres[random.choice(clusters, items + 1, p=popularity)], spread)
    vectors *= np.exp(_NORM_DEVIATION * random.standard_normal((items + 1, 1), np.float32))
    vectors[0] = 0
    between = centres[random.choice(clusters, (queries, 2), p=popularity)]  # [queries, 2, dim]
    users = _near(random, between[:, 0] + 0.5 * between[:, 1], _USER_SPREAD)
    return vectors, users


def truth(vectors: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """The k items with the largest dot products, unordered: [q, dim] -> int64 [q, k], items 1..n."""
    step = max(1, _MAX_SCORES // len(vectors))
    items = []
    for first in range(0, len(queries), step):
        scores = queries[first : first + step] @ vectors[1:].T
        items.append(np.argpartition(scores, -k, axis=1)[:, -k:] + 1)
    return np.concatenate(items)


def recall(results: np.ndarray, true: np.ndarray) -> float:
    """The share of `true` that is in `results`: int [q, k], int [q, k]."""
    hits = sum(len(np.intersect1d(r, t)) for r, t in zip(results, true, strict=True))
    return hits / true.size


def _near(random: np.random.Generator, points: np.ndarray, spread: float) -> np.ndarray:
    dim = points.shape[1]
    vectors = points + spread / np.sqrt(dim) * random.standard_normal(points.shape, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
