"""Builds the index of a catalogue: brute force, or the fastest ScaNN setting whose measured recall is high enough."""

from __future__ import annotations

import math
import os
import time
from typing import Any, NamedTuple

import numpy as np

from trainer.config import IndexConfig
from trainer.errors import TowersError
from trainer.index import persistence
from trainer.index.base import Index, check_vectors
from trainer.index.brute_force import BruteForceIndex
from trainer.index.measurement import exact_items, measure
from trainer.index.queries import MAX_QUERIES

# ScaNN settings in ascending order of work: the share of leaves that is searched, and the multiple of k that is scored
# again exactly. Steps are small, so that the first setting to reach the target does little more work than necessary.
SETTINGS = (
    (0.01, 2),
    (0.02, 3),
    (0.03, 3),
    (0.045, 3),
    (0.06, 3),
    (0.08, 3),
    (0.1, 3),
    (0.12, 3),
    (0.15, 4),
    (0.2, 4),
    (0.25, 4),
    (0.3, 5),
    (0.35, 5),
    (0.4, 5),
    (0.5, 5),
    (0.6, 5),
    (0.7, 5),
    (1.0, 5),
    (1.0, 20),
)


def build(
    config: IndexConfig, item_vectors: np.ndarray, query_vectors: np.ndarray, directory: str | os.PathLike[str]
) -> dict[str, Any]:
    """Chooses an index, builds and writes it.

    `config.kind` decides how: `brute_force` takes brute force. `scann` takes the fastest ScaNN setting whose recall on
    held-out queries reaches `recall_target`, or the one with the best recall if none does. `auto` takes brute force for
    up to `brute_force_limit` items; for more, the fastest ScaNN setting that reaches the target if it is also faster
    than brute force, else brute force.

    Args:
      config: the index section of the configuration; `k` is the k of recall@k.
      item_vectors: float32 [n + 1, dim], of the retrieval model: row 0 the unknown item, then items 1..n.
      query_vectors: float32 [q, dim], user vectors of held-out requests. The first `MAX_QUERIES` are used.
      directory: see `trainer.index.persistence.save`.

    Returns:
      The report, also in `index.json`: `kind`, `parameters`, `reason`, `items`, `k`, `recall_target`, `queries`,
      `build_seconds` (of ScaNN's searcher, without measuring; 0 if none was built), and `measured`, a list of the
      results of `trainer.index.measurement.measure`. Settings after the first that reaches the target are not measured.

    Raises:
      TowersError: `directory` is not empty, or measuring is necessary and there are no queries.
      ValueError: vectors of the wrong shape or dtype, or not finite.
    """
    item_vectors = np.ascontiguousarray(item_vectors)
    check_vectors(item_vectors)
    if query_vectors.ndim != 2 or query_vectors.shape[1] != item_vectors.shape[1]:
        raise ValueError(
            f"`query_vectors` should be [q, {item_vectors.shape[1]}], as wide as the items'. "
            f"Received: {list(query_vectors.shape)}"
        )
    queries = query_vectors[:MAX_QUERIES].astype(np.float32)
    brute_force = BruteForceIndex(item_vectors)
    reason = _reason_not_to_measure(config, brute_force.size)
    if reason is not None:
        measurements = [measure(brute_force, queries, config.k)] if len(queries) else []
        choice = _Choice(brute_force, reason, measurements)
    else:
        choice = _choose_by_measurement(config, brute_force, item_vectors, queries)
    report = {
        "kind": choice.index.kind,
        "parameters": choice.index.parameters,
        "reason": choice.reason,
        "items": choice.index.size,
        "k": config.k,
        "recall_target": config.recall_target,
        "queries": len(queries),
        "build_seconds": round(choice.build_seconds, 3),
        "measured": choice.measurements,
    }
    persistence.save(choice.index, report, directory)
    return report


def describe(report: dict[str, Any]) -> str:
    """One line with the choice of `build`, its measured recall and latency, and the reason."""
    chosen = [m for m in report["measured"] if m["kind"] == report["kind"] and m["parameters"] == report["parameters"]]
    figures = f", recall@{report['k']} {chosen[0]['recall']:.3f}, p50 {chosen[0]['p50_ms']:.2f} ms" if chosen else ""
    return f"{report['kind']} over {report['items']} items{figures} ({report['reason']})"


class _Choice(NamedTuple):
    index: Index
    reason: str
    measurements: list[dict[str, Any]]
    build_seconds: float = 0.0  # of ScaNN's searcher


def _reason_not_to_measure(config: IndexConfig, items: int) -> str | None:
    """The reason to take brute force without measuring ScaNN; None if ScaNN should be measured."""
    if config.kind == "brute_force":
        return "the configuration asks for brute force"
    if config.kind == "auto" and items <= config.brute_force_limit:
        return f"{items} items are at most brute_force_limit ({config.brute_force_limit})"
    return None


def _choose_by_measurement(
    config: IndexConfig, brute_force: BruteForceIndex, vectors: np.ndarray, queries: np.ndarray
) -> _Choice:
    """Measures ScaNN settings, least work first, until one reaches the recall target."""
    if not len(queries):
        raise TowersError(
            "index: no held-out queries to measure recall with. Hold out some users (data.split), "
            "or set index.kind: brute_force."
        )
    expected = exact_items(brute_force, queries, config.k)
    measurements = [measure(brute_force, queries, config.k)]
    candidates, seconds = _scann_candidates(vectors, config.k)
    # The first setting in ascending order of work counts as the fastest. Measured times are noisy and do not decide.
    for candidate in candidates:
        measurements.append(measure(candidate, queries, config.k, expected))
        if measurements[-1]["recall"] < config.recall_target:
            continue
        if config.kind == "scann" or measurements[-1]["p50_ms"] < measurements[0]["p50_ms"]:
            reason = f"the fastest ScaNN setting with recall@{config.k} >= {config.recall_target}"
            return _Choice(candidate, reason, measurements, seconds)
        reason = "no ScaNN setting that meets the recall target is faster than brute force"
        return _Choice(brute_force, reason, measurements, seconds)
    recalls = [measurement["recall"] for measurement in measurements[1:]]
    reason = f"no ScaNN setting reaches recall@{config.k} {config.recall_target}"
    if config.kind == "scann":
        reason += "; the configuration asks for ScaNN, this one comes closest"
        return _Choice(candidates[int(np.argmax(recalls))], reason, measurements, seconds)
    return _Choice(brute_force, f"{reason} (best: {max(recalls):.4f})", measurements, seconds)


def _scann_candidates(vectors: np.ndarray, k: int) -> tuple[list[Index], float]:
    """ScaNN indexes with different search settings, which share one searcher, and the seconds to build it."""
    from trainer.index.scann import MIN_ITEMS_FOR_LEAVES, ScannIndex, ScannParameters

    items = len(vectors) - 1
    capacity = 2 * k  # k items and as many exclusions; a request with more exclusions is searched exactly
    leaves = round(math.sqrt(items))
    if items < MIN_ITEMS_FOR_LEAVES:
        settings = [ScannParameters(capacity)]
    else:
        settings = [
            ScannParameters(
                capacity,
                leaves=leaves,
                leaves_to_search=max(1, round(share * leaves)),
                reorder=max(capacity, multiple * k),
            )
            for share, multiple in SETTINGS
        ]
    start = time.perf_counter()
    index = ScannIndex(vectors, settings[0])
    seconds = time.perf_counter() - start
    return [index.with_parameters(parameters) for parameters in settings], seconds
