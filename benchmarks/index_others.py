"""hnswlib and faiss as `index_worker.Searcher`s; `index_comparison.py` starts this script in their environment.

Arguments: a JSON object with the index (a key of SEARCHERS), its directory, threads, and options of the index.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from pathlib import Path
from typing import Any

import faiss
import hnswlib
import numpy as np
from index_worker import answer


class Hnsw:
    """The graph of hnswlib, with inner products."""

    version = importlib.metadata.version("hnswlib")

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._index = hnswlib.Index(space="ip", dim=options["dim"])

    def build(self, vectors: np.ndarray, directory: Path, request: dict[str, Any]) -> tuple[float, None]:
        start = time.perf_counter()
        self._index.init_index(
            len(vectors) - 1, M=self._options["links"], ef_construction=self._options["ef_construction"], random_seed=1
        )
        self._index.set_num_threads(self._options["threads"])
        self._index.add_items(vectors[1:], np.arange(1, len(vectors)))
        seconds = time.perf_counter() - start
        self._index.save_index(str(directory / "index.hnsw"))
        return seconds, None

    def load(self, directory: Path) -> None:
        self._index.load_index(str(directory / "index.hnsw"))
        self._index.set_num_threads(self._options["threads"])

    def use(self, parameters: dict[str, Any]) -> None:
        self._index.set_ef(parameters["ef"])

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        return self._index.knn_query(queries, k)[0]


class Faiss:
    """An index of faiss's factory, with inner products."""

    version = faiss.__version__

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        faiss.omp_set_num_threads(options["threads"])

    def build(self, vectors: np.ndarray, directory: Path, request: dict[str, Any]) -> tuple[float, None]:
        start = time.perf_counter()
        index = faiss.index_factory(self._options["dim"], self._options["factory"], faiss.METRIC_INNER_PRODUCT)
        index.train(vectors[1:])
        index.add(vectors[1:])
        seconds = time.perf_counter() - start
        faiss.write_index(index, str(directory / "index.faiss"))
        return seconds, None

    def load(self, directory: Path) -> None:
        self._index = faiss.read_index(str(directory / "index.faiss"))

    def use(self, parameters: dict[str, Any]) -> None:
        space = faiss.ParameterSpace()
        for name, value in parameters.items():
            space.set_index_parameter(self._index, name, value)

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        return self._index.search(queries, k)[1] + 1


SEARCHERS = {"hnswlib": Hnsw, "faiss": Faiss}


def main() -> None:
    options = json.loads(sys.argv[1])
    searcher = SEARCHERS[options["index"]](options)
    answer(searcher, Path(options["directory"]), {"version": searcher.version})


if __name__ == "__main__":
    main()
