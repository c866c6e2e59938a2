"""Ranking metrics from the ranks of the targets.

A user u has m_u targets; r_1 < r_2 < ... are their ranks, 1 the best, in one full ranking of the candidates. Every
metric is the mean over users with at least one target.

- hit_rate@k: share of users with any r_j <= k.
- recall@k: |{j: r_j <= k}| / m_u. With one target this equals the hit rate.
- ndcg@k: sum over r_j <= k of 1 / log2(1 + r_j), divided by the sum over j = 1..min(m_u, k) of 1 / log2(1 + j)
  (Järvelin & Kekäläinen, 2002, binary gains).
- mrr@k: 1 / r_1 if r_1 <= k, otherwise 0 (Voorhees, 1999).
- map@k: sum over r_j <= k of j / r_j, divided by min(m_u, k): average precision (Manning et al., 2008, chapter 8).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def from_ranks(ranks: np.ndarray, offsets: np.ndarray, cutoffs: Sequence[int]) -> dict[str, float]:
    """Means over users.

    Args:
      ranks: int64 [targets], from 1; 0 = the target is not in the ranking.
      offsets: int64 [users + 1]; the targets of user u are `ranks[offsets[u]:offsets[u + 1]]`.
      cutoffs: values of k.

    Returns:
      `{"ndcg@10": ..., ...}` for every metric and cutoff; 0 throughout if no user has a target.
    """
    has_targets = np.diff(offsets) > 0
    result = {}
    for name, values in per_user(ranks, offsets, cutoffs).items():
        result[name] = float(values[has_targets].mean()) if has_targets.any() else 0.0
    return result


def per_user(ranks: np.ndarray, offsets: np.ndarray, cutoffs: Sequence[int]) -> dict[str, np.ndarray]:
    """The values of each user: every metric and cutoff -> float64 [users]; 0 for users without a target.

    See `from_ranks` for the arguments.
    """
    counts = np.diff(offsets)
    users = len(counts)
    user = np.repeat(np.arange(users), counts)
    order = np.lexsort((np.where(ranks > 0, ranks, np.iinfo(np.int64).max), user))
    rank = ranks[order].astype(np.int64)  # ascending within each user; targets that are not in the ranking last
    is_ranked = rank > 0
    positive = np.where(is_ranked, rank, 1)
    ordinal = np.arange(len(rank)) - np.repeat(offsets[:-1], counts) + 1  # j
    result: dict[str, np.ndarray] = {}
    for k in cutoffs:
        hit = is_ranked & (rank <= k)

        def total(values: np.ndarray, hit: np.ndarray = hit) -> np.ndarray:
            return np.bincount(user, weights=np.where(hit, values, 0.0), minlength=users)

        max_hits = np.minimum(counts, k)
        ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(1 + np.arange(1, max(k, 1) + 1)))])
        hits = total(np.ones(len(rank)))
        result[f"hit_rate@{k}"] = (hits > 0).astype(np.float64)
        result[f"recall@{k}"] = hits / np.maximum(counts, 1)
        result[f"ndcg@{k}"] = total(1 / np.log2(1 + positive)) / np.maximum(ideal[max_hits], 1e-12)
        result[f"mrr@{k}"] = total(np.where(ordinal == 1, 1 / positive, 0.0))
        result[f"map@{k}"] = total(ordinal / positive) / np.maximum(max_hits, 1)
    return result
