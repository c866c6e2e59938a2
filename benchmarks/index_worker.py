"""One index in its own process, which answers requests on the standard streams; it needs NumPy only.

Requests and answers are JSON objects, one a line:

    {"do": "build", "vectors": path, ...}               ->  {"seconds": ..., "parameters": {...} or null}
    {"do": "load"}                                      ->  {}
    {"do": "search", "parameters": {...}, "queries": path, "k": ..., "batch": ..., "seconds": ..., "results": path}
                                                        ->  {"seconds": [seconds of each call]}

A search passes over all queries at least once, and again until `seconds` are over. `results` receives the items of the
first pass, int [q, k], 1..n.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

_WARM_UP_CALLS = 10


class Searcher(Protocol):
    """An index of one library."""

    def build(self, vectors: np.ndarray, directory: Path, request: dict[str, Any]) -> tuple[float, dict | None]:
        """Builds the index from float32 [n + 1, dim], whose row 0 is no item, and writes it.

        Returns: seconds of building alone, without measuring and writing; the search parameters if it chooses them.
        """

    def load(self, directory: Path) -> None: ...

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        """float32 [B, dim] -> items [B, k], 1..n."""

    def use(self, parameters: dict[str, Any]) -> None:
        """Sets the parameters of the next searches."""


def answer(searcher: Searcher, directory: Path, info: dict[str, Any]) -> None:
    """Sends `info`, then answers requests until the stream ends."""
    _send(info)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "build":
            seconds, parameters = searcher.build(np.load(request["vectors"]), directory, request)
            _send({"seconds": seconds, "parameters": parameters})
        elif request["do"] == "load":
            searcher.load(directory)
            _send({})
        else:
            searcher.use(request["parameters"])
            _send({"seconds": _search(searcher, request)})


def _search(searcher: Searcher, request: dict[str, Any]) -> list[float]:
    queries, k, size = np.load(request["queries"]), request["k"], request["batch"]
    batches = [np.ascontiguousarray(queries[first : first + size]) for first in range(0, len(queries), size)]
    for batch in batches[:_WARM_UP_CALLS]:
        searcher.search(batch, k)
    seconds: list[float] = []
    results = []
    while len(seconds) < len(batches) or sum(seconds) < request["seconds"]:
        batch = batches[len(seconds) % len(batches)]
        start = time.perf_counter()
        items = searcher.search(batch, k)
        seconds.append(time.perf_counter() - start)
        if len(results) < len(batches):
            results.append(items)
    np.save(request["results"], np.concatenate(results))
    return seconds


def _send(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)
