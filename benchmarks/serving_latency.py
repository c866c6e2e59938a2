"""Latency and throughput of a served recommender: over the wire, and the same computation in this process.

The embedded server runs in its own process on a free port of 127.0.0.1. Each client is a process with its own
connection, which calls `serving.client.PredictionClient`, one call after the other: NumPy arrays in and out.
In-process, as many threads call the function that the server calls for a request,
`serving.server.runtime.predict.run`: NumPy arrays in and out. Both sides of a line take turns, and so do the lengths of
queries, so that noise of the machine affects all of them alike. All texts differ, so that the cache of texts, which
both sides have, does not answer. The last lines also show the overhead of gRPC for Python alone on this machine, with a
handler that computes as long as the fastest line: no server on this library can add less.

The machine should be idle; the first and the last line show its load.

Command:  .venv/bin/python benchmarks/serving_latency.py --model RUN/serving/recommender
          to try it: --items 1000 --seconds 0.5 --rounds 1 --clients 1 2
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from bare_grpc import added_milliseconds
from serving_in_process import InProcess
from serving_load import Calls, Clients, call_repeatedly
from serving_model import NAME, add_model_arguments, base_path_of, description, machine, measured_model
from serving_requests import Recipe, Texts, known_items
from verdict import verdict

SIGNATURES = ("retrieve", "rank", "recommend")
MAX_ADDED = 0.7  # milliseconds at p50 with one client
MIN_SPEED_UP = 2.0  # of a short query, relative to one of LONG_QUERY tokens
LONG_QUERY = 64
_WARM_UP_SECONDS = 0.5
_HEADING = f"{'':<24}{'clients':>7}{'p50':>8}{'p95':>7}{'p99':>7}{'calls/s':>8}"


class Measurement:
    """Calls of both sides, over the wire and in this process."""

    def __init__(self, clients: Clients, model: InProcess, requests: int) -> None:
        self._clients = clients
        self._model = model
        self._requests = requests
        self._seed = 0

    def both(self, key: str, recipe: Recipe, clients: int, seconds: float, rounds: int) -> tuple[Calls, Calls]:
        """(calls over the wire, calls in this process)"""
        wire, here = Calls(), Calls()
        for _ in range(rounds):
            self._seed += 1
            self._clients.prepare(clients, key, recipe, self._each(clients), self._seed)
            self._clients.call(clients, _WARM_UP_SECONDS)
            wire = wire.then(self._clients.call(clients, seconds / rounds))
            here = here.then(self._in_process(key, recipe, clients, seconds / rounds))
        if wire.failures:
            sys.exit(f"{key}: calls failed: {dict(wire.failures)}: {wire.example}")
        return wire, here

    def _each(self, callers: int) -> int:
        # Callers share the processors, so each needs only its share of the requests.
        return -(-self._requests // callers)

    def _in_process(self, key: str, recipe: Recipe, threads: int, seconds: float) -> Calls:
        call = self._model.calls(key)
        pools = [recipe.make(self._each(threads), 1000 * self._seed + 500 + number) for number in range(threads)]
        total = Calls()
        with ThreadPoolExecutor(threads) as pool:
            for duration in (_WARM_UP_SECONDS, seconds):
                running = [pool.submit(call_repeatedly, call, requests, duration) for requests in pools]
                total = Calls()
                for future in running:
                    total = total.beside(future.result())
        return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    add = parser.add_argument
    add("--clients", type=int, nargs="+", default=[1, 4, 16])
    add("--seconds", type=float, default=10.0, help="of a cell, on each of its sides")
    add("--rounds", type=int, default=3, help="number of turns of each side")
    add("--events", type=int, default=8, help="in a history")
    add("--words", type=int, default=16, help="in a text")
    add("--requests", type=int, default=500, help="number of different requests in a turn")
    add("--filter", default="", help="only the lines whose names match this regular expression: 'recommend|words'")
    add("--server-flags", default="", help="further flags of the server, as one argument")
    arguments = parser.parse_args()

    warnings.filterwarnings("ignore", category=FutureWarning, module="google")
    from serving.client.prediction_client import PredictionClient
    from serving.server.flags import parse_flags
    from serving.server.process import ServerProcess

    texts = (
        Texts("no text"),
        Texts("query", query=arguments.words),
        Texts(f"query+{arguments.events} texts", query=arguments.words, event=arguments.words),
    )
    flags = shlex.split(arguments.server_flags)
    with measured_model(arguments) as directory, base_path_of(directory) as base_path:
        print(f"{description(directory)}\n{machine()}; server flags: {arguments.server_flags or 'none'}\n", flush=True)
        cache = parse_flags([f"--model_base_path={base_path}", *flags]).text_cache_mib
        model = InProcess(directory, text_cache_mib=cache)
        with (
            ServerProcess(base_path, NAME, arguments=flags) as server,
            PredictionClient(server.address, NAME, timeout=60) as client,
            Clients(max(arguments.clients), server.address) as clients,
        ):
            signatures = client.metadata().signatures
            items = known_items(client, "retrieve")
            measurement = Measurement(clients, model, arguments.requests)

            def recipe(key: str, text: Texts) -> Recipe:
                return Recipe(signatures[key], text, items, arguments.events, len(items))

            def selected(name: str) -> bool:
                return re.search(arguments.filter, name) is not None

            added, fastest = _main_table(arguments, measurement, signatures, texts, recipe, selected)
            speed_ups = _query_table(arguments, measurement, signatures, recipe, selected)
    print(f"\n{machine()}")
    if added:
        worst = max(added, key=lambda name: added[name])
        print(
            f"the wire adds at most {added[worst]:.2f} ms at p50 with one client ({worst}); "
            f"at most {MAX_ADDED}: {verdict(added[worst] <= MAX_ADDED)}"
        )
        empty, busy = added_milliseconds(0.0), added_milliseconds(fastest / 1000)
        print(f"gRPC for Python alone adds {empty:.2f} ms to nothing, {busy:.2f} ms to {fastest:.1f} ms of computing")
    if speed_ups:
        lowest = min(speed_ups, key=lambda name: speed_ups[name])
        print(
            f"queries of up to 8 words at least {speed_ups[lowest]:.2f}x faster than {LONG_QUERY} tokens ({lowest}); "
            f"at least {MIN_SPEED_UP:g}x: {verdict(speed_ups[lowest] >= MIN_SPEED_UP)}"
        )


def _main_table(arguments, measurement, signatures, texts, recipe, selected) -> tuple[dict[str, float], float]:
    """Prints the main table.

    Returns: by line, the milliseconds that the wire adds at p50 with one client; those of the fastest line in-process.
    """
    print(
        f"{'milliseconds':<31}{'over the wire':>22}{'':>8}{'in-process':>22}{'':>8}{'wire -':>8}{'wire /':>7}".rstrip()
    )
    print(f"{_HEADING}{'p50':>8}{'p95':>7}{'p99':>7}{'calls/s':>8}{'in-pr.':>8}{'in-pr.':>7}")
    added, fastest = {}, float("inf")
    for key in SIGNATURES:
        for text in texts:
            name = f"{key}, {text.name}"
            if not selected(name):
                continue
            problem = _problem(key, text, signatures)
            if problem:
                print(f"{name:<24}  {problem}", flush=True)
                continue
            for clients in arguments.clients:
                wire, here = measurement.both(key, recipe(key, text), clients, arguments.seconds, arguments.rounds)
                difference = wire.milliseconds(50) - here.milliseconds(50)
                if clients == 1:
                    added[name] = difference
                    fastest = min(fastest, here.milliseconds(50))
                ratio = wire.milliseconds(50) / here.milliseconds(50)
                head = name if clients == arguments.clients[0] else ""
                print(f"{head:<24}{clients:>7}{_cells(wire)}{_cells(here)}{difference:>8.2f}{ratio:>6.2f}x", flush=True)
    return added, fastest


def _query_table(arguments, measurement, signatures, recipe, selected) -> dict[str, float]:
    """Prints the table of query lengths. Returns, by line, the speed-up of a short query over a long one."""
    lengths = (
        Texts("3 words", query=3),
        Texts("8 words", query=8),
        Texts(f"{LONG_QUERY} tokens", query=LONG_QUERY - 2),  # [CLS] and [SEP] make it full
    )
    keys = [key for key in ("encode_text", "retrieve") if any(selected(f"{key}, {text.name}") for text in lengths)]
    if keys:
        print(f"\nqueries by length: one of {LONG_QUERY} tokens costs as much as any query padded to {LONG_QUERY}")
        print(f"{_HEADING}{'p50':>8}{'p95':>7}{'p99':>7}{'calls/s':>8}{'faster':>8}{'(in-pr.)':>9}")
    speed_ups = {}
    for key in keys:
        names = [f"{key}, {text.name}" for text in lengths]
        problem = _problem(key, lengths[0], signatures)
        if problem:
            print(f"{key:<24}  {problem}", flush=True)
            continue
        sides = [[Calls(), Calls()] for _ in lengths]
        for _ in range(arguments.rounds):
            for side, text in zip(sides, lengths, strict=True):
                both = measurement.both(key, recipe(key, text), 1, arguments.seconds / arguments.rounds, 1)
                side[:] = [before.then(calls) for before, calls in zip(side, both, strict=True)]
        longest = sides[-1]
        for name, (wire, here) in zip(names, sides, strict=True):
            ratios = [
                long.milliseconds(50) / side.milliseconds(50) for long, side in zip(longest, (wire, here), strict=True)
            ]
            if wire is not longest[0] and key == "encode_text":
                speed_ups[name] = ratios[0]
            print(f"{name:<24}{1:>7}{_cells(wire)}{_cells(here)}{ratios[0]:>7.2f}x{ratios[1]:>8.2f}x", flush=True)
    return speed_ups


def _problem(key: str, texts: Texts, signatures: Mapping) -> str:
    if key not in signatures:
        return "this export has no such signature"
    missing = texts.missing(signatures[key])
    return f"the signature takes no {missing}" if missing else ""


def _cells(calls: Calls) -> str:
    p50, p95, p99 = (calls.milliseconds(percentile) for percentile in (50, 95, 99))
    return f"{p50:>8.2f}{p95:>7.1f}{p99:>7.1f}{calls.rate:>8,.0f}"


if __name__ == "__main__":
    main()
