"""One index in a process of its own, asked over the standard streams; runs in any environment that has NumPy.

Requests and answers are JSON objects, one a line:

    {"do": "build", "vectors": path, ...}               ->  {"seconds": ..., "parameters": {...} or null}
    {"do": "load"}                                      ->  {}
    {"do": "search", "parameters": {...}, "queries": path, "k": ..., "batch": ..., "seconds": ..., "found": path}
                                                        ->  {"seconds": [of each call]}

A search passes over all queries at least once and goes on until `seconds` are over; `found` receives the items of the
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
        """Builds it from float32 [n + 1, dim], row 0 no item, and writes it; seconds, and parameters if it has its own.

        The time is that of building alone, without measuring and writing.
        """

    def load(self, directory: Path) -> None: ...

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        """float32 [B, dim] -> items [B, k], 1..n."""

    def use(self, parameters: dict[str, Any]) -> None:
        """How the next searches look."""


def answer(searcher: Searcher, directory: Path, about: dict[str, Any]) -> None:
    """Answers requests until the stream ends."""
    _say(about)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "build":
            seconds, parameters = searcher.build(np.load(request["vectors"]), directory, request)
            _say({"seconds": seconds, "parameters": parameters})
        elif request["do"] == "load":
            searcher.load(directory)
            _say({})
        else:
            searcher.use(request["parameters"])
            _say({"seconds": _search(searcher, request)})


def _search(searcher: Searcher, request: dict[str, Any]) -> list[float]:
    queries, k, size = np.load(request["queries"]), request["k"], request["batch"]
    batches = [np.ascontiguousarray(queries[first : first + size]) for first in range(0, len(queries), size)]
    for batch in batches[:_WARM_UP_CALLS]:
        searcher.search(batch, k)
    seconds: list[float] = []
    found = []
    while len(seconds) < len(batches) or sum(seconds) < request["seconds"]:
        batch = batches[len(seconds) % len(batches)]
        start = time.perf_counter()
        items = searcher.search(batch, k)
        seconds.append(time.perf_counter() - start)
        if len(found) < len(batches):
            found.append(items)
    np.save(request["found"], np.concatenate(found))
    return seconds


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)
