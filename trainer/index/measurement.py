"""Measures an index: recall against exact search, and latency of single queries."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.index.base import Index
from trainer.index.brute_force import BruteForceIndex

BATCH_SIZE = 64  # queries in one call when recall is measured
LATENCY_QUERIES = 200
WARM_UP_QUERIES = 20

Search = Callable[[tf.Tensor], tf.Tensor]  # queries float32 [B, dim] -> items int32 [B, k]


def exact_items(index: BruteForceIndex, queries: np.ndarray, k: int) -> np.ndarray:
    """Results of exact search: queries float32 [q, dim] -> items int32 [q, k], 0 for none."""
    return _search_in_batches(_search_function(index, k), queries)


def measure(index: Index, queries: np.ndarray, k: int, expected: np.ndarray | None = None) -> dict[str, Any]:
    """Measures recall@k and the latency of single queries.

    Args:
      index: what to measure.
      queries: float32 [q, dim], q > 0.
      k: number of items of a search.
      expected: int32 [q, k], from `exact_items`; not needed for a brute-force index, whose recall is 1.

    Returns:
      `kind` and `parameters` of the index; `recall`, the share of exact search's items that the index returns; `p50_ms`
      and `p99_ms`, latency at batch size 1.
    """
    search = _search_function(index, k)
    recall = 1.0
    if expected is not None and not isinstance(index, BruteForceIndex):
        recall = _recall(_search_in_batches(search, queries), expected)
    latencies = _latencies(search, queries[:LATENCY_QUERIES])
    return {
        "kind": index.kind,
        "parameters": index.parameters,
        "recall": round(recall, 5),
        "p50_ms": round(float(np.percentile(latencies, 50)), 4),
        "p99_ms": round(float(np.percentile(latencies, 99)), 4),
    }


def _recall(items: np.ndarray, expected: np.ndarray) -> float:
    # Items of a row are distinct. 0 stands for "no item" in both arrays and is not counted.
    hits = sum(len(np.intersect1d(row, best[best > 0])) for row, best in zip(items, expected, strict=True))
    return hits / int((expected > 0).sum())


def _latencies(search: Search, queries: np.ndarray) -> list[float]:
    """Milliseconds of each query, alone in its call, after a warm-up."""
    single_queries = [tf.constant(query[None]) for query in queries]
    for query in single_queries[:WARM_UP_QUERIES]:
        search(query)
    latencies = []
    for query in single_queries:
        start = time.perf_counter()
        search(query)
        latencies.append((time.perf_counter() - start) * 1000)
    return latencies


def _search_function(index: Index, k: int) -> Search:
    @tf.function(input_signature=[tf.TensorSpec([None, index.dim], tf.float32)])
    def search(queries: tf.Tensor) -> tf.Tensor:
        return index.search(queries, k)[1]

    return search


def _search_in_batches(search: Search, queries: np.ndarray) -> np.ndarray:
    batches = [queries[start : start + BATCH_SIZE] for start in range(0, len(queries), BATCH_SIZE)]
    return np.concatenate([search(tf.constant(batch)).numpy() for batch in batches])
