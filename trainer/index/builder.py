"""Builds the index of a catalogue: measures what ScaNN would give, and takes it only where it earns its place."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from trainer.config import IndexConfig
from trainer.errors import TowersError
from trainer.files import atomic_directory
from trainer.index.base import Index, check_vectors
from trainer.index.brute_force import BruteForceIndex

FORMAT = 1  # of the directory
RECALL_QUERIES = 1000
LATENCY_QUERIES = 200
WARM_UP_QUERIES = 20
BATCH = 64  # queries of one recall measurement step

Search = Callable[[tf.Tensor], tf.Tensor]  # queries [B, dim] -> items [B, k]

# Of the leaves, the share that is searched; of k, the multiple that is re-scored exactly. In order of work, and close
# enough together that the first one to reach the target does not do much more than it has to.
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
    """Builds the index that `config.kind` names and writes it.

    `auto` takes brute force for up to `brute_force_limit` items. For more it measures some ScaNN settings on held-out
    queries and takes the fastest that reaches `recall_target` and beats brute force; failing that, brute force. `scann`
    takes the fastest setting that reaches the target, or else the one with the best recall.

    Args:
      config: the index section of the configuration; `k` is the k of recall@k.
      item_vectors: float32 [n + 1, dim], as the retrieval model gives them: row 0 the unknown item, then items 1..n.
      query_vectors: float32 [q, dim], user vectors of held-out requests. The first 1000 are used.
      directory: is written aside and renamed: `index.json`, `vectors.npy`, and ScaNN's parts. Must not exist, or be
        empty.

    Returns:
      The report, also in `index.json`: `kind`, `parameters`, `reason`, `items`, `k`, `recall_target`, `queries`,
      `build_seconds` (of ScaNN's searcher, without measuring; 0 if none was built) and
      `measured`, a list of {kind, parameters, recall, p50_ms, p99_ms}: latency at batch 1, recall as the share of what
      exact search finds. Settings after the first that reaches the target are not measured.

    Raises:
      TowersError: `directory` holds something, or there are no queries to measure with where measuring is needed.
      ValueError: vectors of the wrong shape or dtype, or not finite.
    """
    item_vectors = np.ascontiguousarray(item_vectors)
    check_vectors(item_vectors)
    if query_vectors.ndim != 2 or query_vectors.shape[1] != item_vectors.shape[1]:
        raise ValueError(
            f"`query_vectors` should be [q, {item_vectors.shape[1]}], as wide as the items'. "
            f"Received: {list(query_vectors.shape)}"
        )
    queries = query_vectors[:RECALL_QUERIES].astype(np.float32)
    choice = _choose(config, item_vectors, queries)
    report = {
        "kind": choice.index.kind,
        "parameters": choice.index.parameters,
        "reason": choice.reason,
        "items": choice.index.size,
        "k": config.k,
        "recall_target": config.recall_target,
        "queries": len(queries),
        "build_seconds": round(choice.build_seconds, 3),
        "measured": choice.measured,
    }
    _write(choice.index, report, directory)
    return report


def load(directory: str | os.PathLike[str]) -> Index:
    """The index that `build` wrote.

    Raises:
      TowersError: there is none, or it is of another format.
    """
    directory = Path(directory)
    described = read_description(directory)
    vectors = np.load(directory / "vectors.npy")
    if described["kind"] == BruteForceIndex.kind:
        return BruteForceIndex(vectors)
    from trainer.index.scann import ScannIndex

    return ScannIndex.load(vectors, described["parameters"], directory)


def describe(report: dict[str, Any]) -> str:
    """One line on what `build` chose and why."""
    chosen = [m for m in report["measured"] if m["kind"] == report["kind"] and m["parameters"] == report["parameters"]]
    figures = f", recall@{report['k']} {chosen[0]['recall']:.3f}, p50 {chosen[0]['p50_ms']:.2f} ms" if chosen else ""
    return f"{report['kind']} over {report['items']} items{figures} ({report['reason']})"


def read_description(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """`index.json` of a built index: `format`, `kind`, `parameters` and `report`."""
    path = Path(directory) / "index.json"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise TowersError(f"{path}: there is no readable index. Run the pipeline's index step again.") from None
    if described.get("format") != FORMAT:
        raise TowersError(
            f"{path}: format {described.get('format')}, this version reads {FORMAT}. Build the index again."
        )
    return described


class _Choice(NamedTuple):
    index: Index
    reason: str
    measured: list[dict[str, Any]]
    build_seconds: float = 0.0  # of ScaNN's searcher


def _choose(config: IndexConfig, vectors: np.ndarray, queries: np.ndarray) -> _Choice:
    items = len(vectors) - 1
    exact = BruteForceIndex(vectors)
    if config.kind == "brute_force" or (config.kind == "auto" and items <= config.brute_force_limit):
        reason = (
            "the configuration asks for brute force"
            if config.kind == "brute_force"
            else f"{items} items are at most brute_force_limit ({config.brute_force_limit})"
        )
        return _Choice(exact, reason, [_measure(exact, queries, None, config.k)] if len(queries) else [])
    if not len(queries):
        raise TowersError(
            "index: no held-out queries to measure recall with. Hold out some users (data.split), "
            "or set index.kind: brute_force."
        )
    truth = _items_found(_search_function(exact, config.k), queries)
    exact_measured = _measure(exact, queries, truth, config.k)
    candidates, seconds = _scann_candidates(vectors, config.k)
    measured = [exact_measured]
    # They are in order of work. Measured times would say the same but for noise, and noise must not choose a model.
    for candidate in candidates:
        measured.append(_measure(candidate, queries, truth, config.k))
        if measured[-1]["recall"] < config.recall_target:
            continue
        if config.kind == "scann" or measured[-1]["p50_ms"] < exact_measured["p50_ms"]:
            reason = f"the fastest ScaNN setting with recall@{config.k} >= {config.recall_target}"
            return _Choice(candidate, reason, measured, seconds)
        reason = "no ScaNN setting that meets the recall target is faster than brute force"
        return _Choice(exact, reason, measured, seconds)
    reason = f"no ScaNN setting reaches recall@{config.k} {config.recall_target}"
    recalls = [result["recall"] for result in measured[1:]]
    if config.kind == "scann":
        reason += "; the configuration asks for ScaNN, this one comes closest"
        return _Choice(candidates[int(np.argmax(recalls))], reason, measured, seconds)
    return _Choice(exact, f"{reason} (best: {max(recalls):.4f})", measured, seconds)


def _scann_candidates(vectors: np.ndarray, k: int) -> tuple[list[Index], float]:
    """One searcher, asked in different ways, and the seconds that it took to build."""
    from trainer.index.scann import SMALLEST_TREE, ScannIndex, ScannParameters

    items = len(vectors) - 1
    capacity = 2 * k  # k and as many exclusions; a request with more is searched exactly
    leaves = round(math.sqrt(items))
    if items < SMALLEST_TREE:
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
    built = ScannIndex(vectors, settings[0])
    seconds = time.perf_counter() - start
    return [built.with_parameters(parameters) for parameters in settings], seconds


def _items_found(search: Search, queries: np.ndarray) -> np.ndarray:
    return np.concatenate([search(tf.constant(queries[i : i + BATCH])).numpy() for i in range(0, len(queries), BATCH)])


def _measure(index: Index, queries: np.ndarray, truth: np.ndarray | None, k: int) -> dict[str, Any]:
    search = _search_function(index, k)
    recall = 1.0
    if truth is not None and not isinstance(index, BruteForceIndex):
        found = _items_found(search, queries)
        # Items are distinct in a row, and 0 stands for "no item" in both.
        hits = sum(len(np.intersect1d(f, t[t > 0])) for f, t in zip(found, truth, strict=True))
        recall = hits / int((truth > 0).sum())
    singles = [tf.constant(query[None]) for query in queries[:LATENCY_QUERIES]]
    for query in singles[:WARM_UP_QUERIES]:
        search(query)
    times = []
    for query in singles:
        start = time.perf_counter()
        search(query)
        times.append((time.perf_counter() - start) * 1000)
    return {
        "kind": index.kind,
        "parameters": index.parameters,
        "recall": round(recall, 5),
        "p50_ms": round(float(np.percentile(times, 50)), 4),
        "p99_ms": round(float(np.percentile(times, 99)), 4),
    }


def _search_function(index: Index, k: int) -> Search:
    @tf.function(input_signature=[tf.TensorSpec([None, index.dim], tf.float32)])
    def search(queries: tf.Tensor) -> tf.Tensor:
        return index.search(queries, k)[1]

    return search


def _write(index: Index, report: dict[str, Any], directory: str | os.PathLike[str]) -> None:
    described = {"format": FORMAT, "kind": index.kind, "parameters": index.parameters, "report": report}
    with atomic_directory(Path(directory)) as aside:
        np.save(aside / "vectors.npy", index.vectors.numpy())
        index.save(aside)
        (aside / "index.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
