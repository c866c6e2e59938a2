"""Metrics of lists that do not depend on hits: coverage, concentration, novelty, diversity and popularity.

Lists have k items for each user u; E = train events, n = items of the catalogue, c(i) = train events of item i.

- coverage: share of the candidate items that are on at least one list (Ge et al., 2010).
- gini: Gini index of how often the candidates are on lists: 0 if all are equally often, near 1 if only one item is
  recommended (Fleder & Hosanagar, 2009).
- novelty: mean self-information of the items, -log2((c(i) + 1) / (E + n)), in bits (Zhou et al., 2010; adding 1 to each
  count keeps it finite for an item without events).
- diversity: mean of 1 - cosine over pairs of a list's items, by content vectors (Smyth & McClave, 2001; Ziegler et al.,
  2005).
- popularity_lift: mean c over the lists' items, divided by its mean over the users' histories, minus 1: how much more
  popular recommended items are than those of the histories (Abdollahpouri et al., 2019). Each user's list and history
  count once.
- cold_share: share of the items that have at most `cold` train events.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.data.tables import UNKNOWN_ITEM, ItemTable, SequenceTable
from trainer.evaluation.uncertainty import Figure, jackknife_interval

LISTS_AT_ONCE = 4_096


def exposure(lists: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The number of lists that have each candidate.

    Args:
      lists: int32 [users, k], item indices; UNKNOWN_ITEM after the end of a list.
      candidates: bool [n + 1].

    Returns:
      int64 [candidates]
    """
    return np.bincount(lists.ravel(), minlength=len(candidates))[candidates]


def coverage(counts: np.ndarray) -> float:
    """Share of the candidates with a positive count, int64 [candidates]: 0..1; 0 if there are no candidates."""
    return float((counts > 0).mean()) if len(counts) else 0.0


def gini(counts: np.ndarray) -> float:
    """Gini index of counts, int64 [candidates]: 0 if all are equal."""
    total, size = counts.sum(), len(counts)
    if not total:
        return 0.0
    ascending = np.sort(counts)
    return float(((2 * np.arange(1, size + 1) - size - 1) * ascending).sum() / (size * total))


def aggregates(
    lists: np.ndarray, candidates: np.ndarray, *, seed: int
) -> dict[str, tuple[float, tuple[float, float] | None]]:
    """`coverage` and `gini`, each with its interval. Args as for `exposure`."""
    result = {}
    for name, statistic in (("coverage", coverage), ("gini", gini)):
        interval = jackknife_interval(
            lambda mask, of=statistic: of(exposure(lists[mask], candidates)),  # type: ignore[misc]
            len(lists),
            seed=seed,
        )
        result[name] = statistic(exposure(lists, candidates)), interval
    return result


def exposure_by_popularity(
    lists: dict[str, np.ndarray], items: ItemTable, candidates: np.ndarray
) -> list[dict[str, Any]]:
    """How often each recommender recommends items of different popularity.

    Args:
      lists: name -> int32 [users, k].
      items: the catalogue.
      candidates: bool [n + 1].

    Returns:
      for each range of train events, whose limits are powers of two: `from`, `to`, `items`: number of candidates in the
      range, `events`: their share of all train events, `shown`: name -> their share of all recommendations.
    """
    count = np.concatenate([[0], items.train_count])[candidates]
    power = np.where(count > 0, np.floor(np.log2(np.maximum(count, 1))) + 1, 0).astype(int)
    counts = {name: exposure(rows, candidates) for name, rows in lists.items()}
    return [
        {
            "from": int(2 ** (p - 1)) if p else 0,
            "to": int(2**p - 1),
            "items": int((power == p).sum()),
            "events": float(count[power == p].sum() / max(count.sum(), 1)),
            "shown": {
                name: float(of_list[power == p].sum() / max(of_list.sum(), 1)) for name, of_list in counts.items()
            },
        }
        for p in np.unique(power)
    ]


def figures(
    lists: np.ndarray,
    items: ItemTable,
    sequences: SequenceTable,
    users: np.ndarray,
    content: np.ndarray | None,
    *,
    cold: int,
) -> dict[str, Figure]:
    """The metrics that are means over users: `novelty`, `popularity_lift`, `cold_share`, and with content `diversity`.

    Args:
      lists: int32 [U, k], UNKNOWN_ITEM after the end of a list.
      items: the catalogue.
      sequences: the split.
      users: int64 [U], rows of it.
      content: float [n + 1, d], content vectors of items; zeros for items without content.
      cold: items with at most this many train events are cold.
    """
    count = np.concatenate([[0], items.train_count]).astype(np.float64)
    is_item = lists != UNKNOWN_ITEM
    length = np.maximum(is_item.sum(axis=1), 1)
    has_list = is_item.any(axis=1).astype(np.float64)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.where(is_item, values, 0.0).sum(axis=1) / length

    information = -np.log2((count + 1) / (count.sum() + len(items)))
    history = _mean_of_histories(count, sequences, users)
    comparable = (has_list > 0) & np.isfinite(history)
    result = {
        "novelty": Figure(mean(information[lists]), has_list, bounded=False),
        # sum(lists) / sum(histories) - 1 is written as sum(lists - histories) / sum(histories).
        "popularity_lift": Figure(
            np.where(comparable, mean(count[lists]) - history, 0.0), np.where(comparable, history, 0.0), bounded=False
        ),
        "cold_share": Figure(mean((count <= cold)[lists]), has_list),
    }
    if content is not None:
        result["diversity"] = Figure(*_diversity(lists, content), bounded=False)
    return result


def _mean_of_histories(values: np.ndarray, sequences: SequenceTable, users: np.ndarray) -> np.ndarray:
    """Mean value of the items in users' histories before the targets: float64 [U]; NaN for an empty history."""
    known = sequences.item != UNKNOWN_ITEM
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values[sequences.item], 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    start, stop = sequences.offsets[:-1], sequences.offsets[1:] - sequences.target_count
    total, count = (sums[stop] - sums[start])[users], (counts[stop] - counts[start])[users]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _diversity(lists: np.ndarray, content: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of 1 - cosine over pairs of items with content, and 1 where there is such a pair: float64 [U] both."""
    length = np.linalg.norm(content, axis=1, keepdims=True)
    unit = np.where(length > 0, content / np.maximum(length, 1e-12), 0.0).astype(np.float32)
    known = (length[:, 0] > 0) & (np.arange(len(content)) != UNKNOWN_ITEM)
    distance, exists = np.zeros(len(lists)), np.zeros(len(lists))
    for first in range(0, len(lists), LISTS_AT_ONCE):
        part = lists[first : first + LISTS_AT_ONCE]
        count = known[part].sum(axis=1)
        # |sum of unit vectors|^2 is the sum of all cosines: each pair counts twice, each item once with itself.
        squared = (np.where(known[part][..., np.newaxis], unit[part], 0.0).sum(axis=1) ** 2).sum(axis=1)
        pairs = count * (count - 1)
        rows = slice(first, first + len(part))
        exists[rows] = pairs > 0
        distance[rows] = np.where(pairs > 0, 1 - (squared - count) / np.maximum(pairs, 1), 0.0)
    return distance, exists
