"""Indexes of large catalogues: exact search, ScaNN as this project serves it, hnswlib and faiss, at equal recall.

Item vectors are synthetic and clustered, with unequal norms. Wide clusters make the search hard: see `--spread`. Each
index is built in one process, written, and loaded in others. Search parameters are chosen on separate queries: those of
ScaNN by the project's index builder, those of the others as the first of a list, ordered by cost, that reaches the
recall. hnswlib and faiss run in their own Python environment. Our indexes are SavedModels in a session, as the embedded
server holds them.

Single queries are answered by one thread, batches of 100 by all threads of the machine. The indexes take turns, so that
noise of the machine affects all of them alike. MB is the growth of a fresh process that loads the index and answers a
query; it includes the item vectors.

Command:  .venv/bin/python benchmarks/index_comparison.py --environment DIR
          to try it: --items 20000 --queries 200 --rounds 1 --seconds 0.2
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import index_vectors
import numpy as np
import psutil
from own_environment import python_with
from serving_model import machine
from verdict import verdict
from worker import Worker

PACKAGES = ("hnswlib==0.8.0", "faiss-cpu==1.15.1")
OURS, OTHERS = "index_ours.py", "index_others.py"
EXACT, SCANN = "exact search, ours", "ScaNN, ours"
BATCH = 100
MIN_SPEED_UP = 10.0  # over exact search
LARGE = 1_000_000  # items, from which on it is required
MIN_RELATIVE_SPEED = 0.9  # of the fastest other index; runs differ by more than the rest to 1
MARGIN = 0.001  # of recall in tuning, so that other queries reach the target too
EFS = (100, 120, 150, 200, 250, 300, 400, 500, 700, 1000, 1500, 2000, 3000)
SHARES = (0.004, 0.008, 0.012, 0.016, 0.024, 0.032, 0.048, 0.064, 0.096, 0.128, 0.192, 0.256, 0.5, 1.0)
FACTORS = (2, 4, 8)


@dataclass
class Contestant:
    """An index and its measurements.

    Attributes:
      name: its name in the table.
      script: the script that runs it.
      directory: the directory of its files.
      options: arguments of the script.
      choices: search parameters, ordered by cost; the first that reach the recall are used.
      build_seconds: None if another contestant has built it.
      parameters: the search parameters in use.
      label: the parameters as the table shows them.
    """

    name: str
    script: str
    directory: Path
    options: dict[str, Any]
    choices: list[dict[str, Any]]
    build_seconds: float | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    recall: float = 0.0
    megabytes: float = 0.0
    singles: list[float] = field(default_factory=list)  # seconds of calls
    batches: list[float] = field(default_factory=list)

    @property
    def milliseconds(self) -> float:
        return 1000 * float(np.median(self.singles))

    @property
    def rate(self) -> float:
        """Queries per second in batches."""
        return BATCH * len(self.batches) / sum(self.batches)


class Comparison:
    """The comparison at one size of the catalogue.

    Args:
      arguments: of the command line.
      scratch: directory for temporary files.
      python: an interpreter with hnswlib and faiss.
      items: size of the catalogue.
    """

    def __init__(self, arguments: argparse.Namespace, scratch: Path, python: str, items: int) -> None:
        self._arguments, self._scratch, self._python = arguments, scratch, python
        self._results = str(scratch / "results.npy")
        self._threads = os.cpu_count() or 1
        k, count = arguments.k, arguments.queries
        _progress(f"{items:,} items: making vectors and searching them exactly")
        vectors, queries = index_vectors.make(items, 2 * count, arguments.dim, arguments.seed, arguments.spread)
        self._truth = index_vectors.truth(vectors, queries, k)
        self._files = {name: str(scratch / f"{name}.npy") for name in ("vectors", "tuning", "queries")}
        for name, array in (("vectors", vectors), ("tuning", queries[:count]), ("queries", queries[count:])):
            np.save(self._files[name], array)
        self.contestants = contestants(scratch, items, arguments.dim, arguments.others)

    def run(self) -> None:
        for one in self.contestants:
            self._build(one)
        with self._loaded(self._threads, note_memory=True) as workers:
            for one, worker in zip(self.contestants, workers, strict=True):
                self._tune(one, worker)
            self._take_turns(workers, BATCH, [one.batches for one in self.contestants])
        with self._loaded(1) as workers:
            self._take_turns(workers, 1, [one.singles for one in self.contestants])

    def _build(self, one: Contestant) -> None:
        if one.directory.exists():
            return  # the contestant before it has built the same index
        one.directory.mkdir()
        _progress(f"building: {one.name}")
        with self._worker(one, self._threads) as worker:
            inputs = {"vectors": self._files["vectors"], "tuning": self._files["tuning"], "k": self._arguments.k}
            answer = worker.ask(do="build", recall=min(1.0, self._arguments.recall + MARGIN), **inputs)
        one.build_seconds = answer["seconds"]
        if answer["parameters"]:
            chosen = answer["parameters"]
            label = (
                f"{chosen['leaves_to_search']}/{chosen['leaves']} leaves, {chosen['dimensions_per_block']}-d, "
                f"exact {chosen['reorder']}"
            )
            for sharing in self.contestants:
                if sharing.directory == one.directory:
                    sharing.label = label

    def _tune(self, one: Contestant, worker: Worker) -> None:
        count = self._arguments.queries
        for choice in one.choices:
            one.parameters = choice
            if len(one.choices) == 1:
                break
            results, _ = self._search(worker, choice, "tuning", BATCH, 0.0)
            if index_vectors.recall(results, self._truth[:count]) >= self._arguments.recall + MARGIN:
                break
        if len(one.choices) > 1:
            one.label = ", ".join(f"{name} {value}" for name, value in one.parameters.items())

    def _take_turns(self, workers: list[Worker], batch: int, times: list[list[float]]) -> None:
        for turn in range(self._arguments.rounds):
            for one, worker, seconds in zip(self.contestants, workers, times, strict=True):
                _progress(f"turn {turn + 1}, by {batch}: {one.name}")
                results, calls = self._search(worker, one.parameters, "queries", batch, self._arguments.seconds)
                seconds += calls
                # The recall of single queries, which come last, remains: they are what served requests are.
                one.recall = index_vectors.recall(results, self._truth[self._arguments.queries :])

    def _search(
        self, worker: Worker, parameters: dict[str, Any], queries: str, batch: int, seconds: float
    ) -> tuple[np.ndarray, list[float]]:
        request = {"parameters": parameters, "queries": self._files[queries], "k": self._arguments.k, "batch": batch}
        answer = worker.ask(do="search", seconds=seconds, results=self._results, **request)
        return np.load(self._results), answer["seconds"]

    @contextlib.contextmanager
    def _loaded(self, threads: int, note_memory: bool = False) -> Iterator[list[Worker]]:
        """A process for each contestant, in which its index is loaded."""
        with contextlib.ExitStack() as stack:
            workers = []
            for one in self.contestants:
                _progress(f"loading, {threads} threads: {one.name}")
                worker = stack.enter_context(self._worker(one, threads))
                process = psutil.Process(worker.pid)
                before = process.memory_info().rss
                worker.ask(do="load")
                if note_memory:
                    query = str(self._scratch / "query.npy")
                    np.save(query, np.load(self._files["queries"])[:1])
                    request = {"parameters": one.choices[0], "queries": query, "k": self._arguments.k, "batch": 1}
                    worker.ask(do="search", seconds=0.0, results=self._results, **request)
                    one.megabytes = (process.memory_info().rss - before) / 2**20
                workers.append(worker)
            yield workers

    def _worker(self, one: Contestant, threads: int) -> Worker:
        python = sys.executable if one.script == OURS else self._python
        return Worker(python, one.script, threads, directory=str(one.directory), **one.options)


def contestants(scratch: Path, items: int, dim: int, pattern: str) -> list[Contestant]:
    """All contestants, exact search first; of hnswlib and faiss those whose names match `pattern`."""
    lists = 2 ** round(np.log2(np.sqrt(items)))
    probes = sorted({max(1, round(share * lists)) for share in SHARES})

    def by_faiss(name: str, kind: str, choices: list[dict[str, Any]]) -> Contestant:
        options = {"index": "faiss", "factory": kind, "dim": dim}
        return Contestant(name, OTHERS, scratch / kind.replace(",", "_"), options, choices)

    search, op = [{"signature": "search"}], [{"signature": "op"}]
    links = {"index": "hnswlib", "links": 16, "ef_construction": 200, "dim": dim}
    refined = [{"nprobe": probe, "k_factor_rf": factor} for probe in probes for factor in FACTORS]
    others = [
        Contestant("hnswlib, M 16", OTHERS, scratch / "hnsw", links, [{"ef": ef} for ef in EFS]),
        by_faiss("faiss IVF, SQ8", f"IVF{lists},SQ8", [{"nprobe": probe} for probe in probes]),
        by_faiss("faiss IVF, 2-d PQ", f"IVF{lists},PQ{dim // 2}x4fs,RFlat", refined),
        by_faiss("faiss IVF, 1-d PQ", f"IVF{lists},PQ{dim}x4fs,RFlat", refined),
    ]
    return [
        Contestant(EXACT, OURS, scratch / "exact", {"index": "brute_force"}, search),
        Contestant(SCANN, OURS, scratch / "scann", {"index": "scann"}, search),
        Contestant("  its op alone", OURS, scratch / "scann", {"index": "scann"}, op),
        *(other for other in others if re.search(pattern, other.name)),
    ]


def print_table(comparison: Comparison) -> None:
    exact = comparison.contestants[0]
    print(f"{'':<18}{'':<32}{'recall':>7}{'build':>8}{'':>7}{'p50':>8}{'by 100':>9}{'x exact':>11}".rstrip())
    print(f"{'':<18}{'':<32}{'@k':>7}{'s':>8}{'MB':>7}{'ms':>8}{'q/s':>9}{'p50':>6}{'q/s':>5}")
    for one in comparison.contestants:
        build = "" if one.build_seconds is None else f"{one.build_seconds:.1f}"
        print(
            f"{one.name:<18}{one.label:<32}{one.recall:>7.4f}{build:>8}{one.megabytes:>7,.0f}{one.milliseconds:>8.3f}"
            f"{one.rate:>9,.0f}{exact.milliseconds / one.milliseconds:>6.1f}{one.rate / exact.rate:>5.1f}",
            flush=True,
        )


def print_targets(comparison: Comparison, arguments: argparse.Namespace, items: int) -> None:
    """Prints each target and whether it is reached."""
    exact, scann, op, *others = comparison.contestants
    k = arguments.k
    reached = scann.recall >= arguments.recall
    print(f"\nrecall@{k} of ScaNN {scann.recall:.4f}, at least {arguments.recall}: {verdict(reached)}")
    speed_ups = {
        "one query": exact.milliseconds / scann.milliseconds,
        f"batches of {BATCH}": scann.rate / exact.rate,
    }
    for name, times in speed_ups.items():
        outcome = verdict(times >= MIN_SPEED_UP) if items >= LARGE else f"no target below {LARGE:,} items"
        print(f"{name}: ScaNN {times:.1f}x as fast as exact search, at least {MIN_SPEED_UP:g}x: {outcome}")
    equal = [one for one in others if one.recall >= min(arguments.recall, scann.recall) - MARGIN]
    if not equal:
        print("no other index reaches this recall: nothing to compare with")
        return
    fastest = min(equal, key=lambda one: one.milliseconds)
    highest_rate = max(equal, key=lambda one: one.rate)
    comparisons = (
        ("one query", fastest, fastest.milliseconds / scann.milliseconds),
        (f"batches of {BATCH}", highest_rate, scann.rate / highest_rate.rate),
    )
    for name, other, share in comparisons:
        print(
            f"{name}: ScaNN has {share:.2f}x the speed of the fastest other at this recall ({other.name}), "
            f"at least {MIN_RELATIVE_SPEED:g}x: {verdict(share >= MIN_RELATIVE_SPEED)}"
        )
    print(
        f"our search around ScaNN's op: {1000 * (scann.milliseconds - op.milliseconds):.0f} µs a query, "
        f"{op.rate / scann.rate:.2f}x the time in batches"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--items", type=int, nargs="+", default=[100_000, 1_000_000])
    add("--environment", type=Path, help="hnswlib's and faiss's, created if missing (default: temporary)")
    add("--others", default="", help="only those whose names match this regular expression: 'faiss'")
    add("--recall", type=float, default=0.98, help="@k against exact search, which all should reach")
    add("--queries", type=int, default=1000, help="for tuning, and as many others for measuring")
    add("--rounds", type=int, default=3, help="turns of each index")
    add("--seconds", type=float, default=2.0, help="of a turn at least; each query is searched at least once")
    add("--k", type=int, default=100)
    add("--dim", type=int, default=64)
    add("--seed", type=int, default=1)
    add("--spread", type=float, default=index_vectors.WIDE, help="of clusters, relative to the length of their centres")
    arguments = parser.parse_args()
    if arguments.queries % BATCH:
        parser.error(f"--queries should be a multiple of {BATCH}, so that all batches are full")

    with tempfile.TemporaryDirectory() as directory:
        environment = (arguments.environment or Path(directory, "environment")).absolute()
        python = python_with(environment, *PACKAGES)
        for items in arguments.items:
            scratch = Path(directory, str(items))
            scratch.mkdir()
            comparison = Comparison(arguments, scratch, python, items)
            comparison.run()
            print(
                f"\n{items:,} items, {arguments.dim}-d, spread {arguments.spread:g}, top {arguments.k}; "
                f"{', '.join(PACKAGES)}\n"
                f"one query at a time by 1 thread, batches of {BATCH} by {os.cpu_count()}; {machine()}\n"
            )
            print_table(comparison)
            print_targets(comparison, arguments, items)


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
