"""What lists are like, whether or not they hit: how much of the catalogue they show, how new and how alike their items.

Of lists of k items for users u; E = train events, n = items of the catalogue, c(i) = train events of item i.

- coverage: share of the candidate items that are on any list (Ge et al., 2010).
- gini: Gini index of how often the candidates are on lists, 0 all alike, 1 all on one (Fleder & Hosanagar, 2009).
- novelty: mean self-information of the items, -log2((c(i) + 1) / (E + n)), in bits (Zhou et al., 2010; the ones are
  added so that an item without events has some).
- diversity: mean of 1 - cosine over pairs of a list's items, by content vectors (Smyth & McClave, 2001; Ziegler et al.,
  2005).
- popularity_lift: mean c over the lists' items, divided by its mean over the users' histories, less 1: how much more
  popular than what they take is what they are shown (Abdollahpouri et al., 2019). Each user's list and history count
  once.
- cold_share: share of the items that have at most `cold` train events.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.data.tables import UNKNOWN_ITEM, ItemTable, SequenceTable
from trainer.evaluation.uncertainty import Figure, jackknife_interval

_AT_ONCE = 4_096


def exposure(lists: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """On how many lists each candidate is.

    Args:
      lists: int32 [users, k], item indices; UNKNOWN_ITEM where a list has ended.
      candidates: bool [n + 1].

    Returns:
      int64 [candidates]
    """
    return np.bincount(lists.ravel(), minlength=len(candidates))[candidates]


def coverage(shown: np.ndarray) -> float:
    """Share of what is shown at all: int64 [candidates] counts -> 0..1; 0 if there are no candidates."""
    return float((shown > 0).mean()) if len(shown) else 0.0


def gini(shown: np.ndarray) -> float:
    """Gini index of counts, int64 [candidates]: 0 where all are shown alike or none is."""
    total, count = shown.sum(), len(shown)
    if not total:
        return 0.0
    rising = np.sort(shown)
    return float(((2 * np.arange(1, count + 1) - count - 1) * rising).sum() / (count * total))


def aggregates(
    lists: np.ndarray, candidates: np.ndarray, *, seed: int
) -> dict[str, tuple[float, tuple[float, float] | None]]:
    """`coverage` and `gini`, each with its interval. Args as for `exposure`."""
    result = {}
    for name, statistic in (("coverage", coverage), ("gini", gini)):
        found = statistic(exposure(lists, candidates))
        interval = jackknife_interval(
            lambda kept, of=statistic: of(exposure(lists[kept], candidates)),  # type: ignore[misc]
            len(lists),
            seed=seed,
        )
        result[name] = found, interval
    return result


def exposure_by_popularity(
    lists: dict[str, np.ndarray], items: ItemTable, candidates: np.ndarray
) -> list[dict[str, Any]]:
    """What each recommender shows of items that are taken rarely, and of those that are taken often.

    Args:
      lists: name -> int32 [users, k].
      items: the catalogue.
      candidates: bool [n + 1].

    Returns:
      for each range of train events that candidates lie in, powers of two: `from`, `to`, `items`: how many candidates,
      `events`: their share of all train events, `shown`: name -> their share of places on lists.
    """
    count = np.concatenate([[0], items.train_count])[candidates]
    power = np.where(count > 0, np.floor(np.log2(np.maximum(count, 1))) + 1, 0).astype(int)
    shown = {name: exposure(rows, candidates) for name, rows in lists.items()}
    return [
        {
            "from": int(2 ** (p - 1)) if p else 0,
            "to": int(2**p - 1),
            "items": int((power == p).sum()),
            "events": float(count[power == p].sum() / max(count.sum(), 1)),
            "shown": {name: float(places[power == p].sum() / max(places.sum(), 1)) for name, places in shown.items()},
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
    """What is a mean over users: `novelty`, `popularity_lift`, `cold_share`, and with content `diversity`.

    Args:
      lists: int32 [U, k], UNKNOWN_ITEM where a list has ended.
      items: the catalogue.
      sequences: the split.
      users: int64 [U], rows of it.
      content: float [n + 1, d], vectors of what items are about; rows of zeros for items of which nothing is known.
      cold: items with at most so many train events are cold.
    """
    count = np.concatenate([[0], items.train_count]).astype(np.float64)
    shown = lists != UNKNOWN_ITEM
    some = np.maximum(shown.sum(axis=1), 1)
    listed = shown.any(axis=1).astype(np.float64)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.where(shown, values, 0.0).sum(axis=1) / some

    information = -np.log2((count + 1) / (count.sum() + len(items)))
    taken = _mean_of_histories(count, sequences, users)
    both = (listed > 0) & np.isfinite(taken)
    result = {
        "novelty": Figure(mean(information[lists]), listed, bounded=False),
        # 1 + the lift is the ratio of two means.
        "popularity_lift": Figure(
            np.where(both, mean(count[lists]) - taken, 0.0), np.where(both, taken, 0.0), bounded=False
        ),
        "cold_share": Figure(mean((count <= cold)[lists]), listed),
    }
    if content is not None:
        result["diversity"] = Figure(*_diversity(lists, content), bounded=False)
    return result


def _mean_of_histories(values: np.ndarray, sequences: SequenceTable, users: np.ndarray) -> np.ndarray:
    """Mean value of the items before users' targets, float64 [U]; NaN of an empty history."""
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
    apart, exists = np.zeros(len(lists)), np.zeros(len(lists))
    for first in range(0, len(lists), _AT_ONCE):
        part = lists[first : first + _AT_ONCE]
        count = known[part].sum(axis=1)
        # The cosines of all pairs at once: |sum of vectors|^2 has each pair twice, and every item with itself.
        together = (np.where(known[part][..., np.newaxis], unit[part], 0.0).sum(axis=1) ** 2).sum(axis=1)
        pairs = count * (count - 1)
        rows = slice(first, first + len(part))
        exists[rows] = pairs > 0
        apart[rows] = np.where(pairs > 0, 1 - (together - count) / np.maximum(pairs, 1), 0.0)
    return apart, exists
