"""Hot swaps under constant load: no call may fail or be lost, and memory may not grow.

Clients, each a process with its own connection, call the embedded server all the time. Meanwhile one version after
another appears in its base path, the same model each time. A swap is done when the new version is AVAILABLE and the
status of the old one is END.

Command:  .venv/bin/python benchmarks/serving_swaps.py --model RUN/serving/recommender
          to try it: --items 1000 --swaps 6 --clients 1
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

import numpy as np
from serving_load import Clients
from serving_model import (
    NAME,
    NO_TEXT_CACHE,
    add_model_arguments,
    add_version,
    base_path_of,
    description,
    machine,
    measured_model,
)
from serving_requests import Recipe, Texts, add_request_arguments, known_items
from verdict import verdict

REFERENCE_SWAP = 5  # memory after this swap is compared with that after the last; growth at first is normal
MAX_GROWTH = 1.1
_REQUESTS = 500  # different requests of a client
_MAX_SWAP = 300.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    add = parser.add_argument
    add("--swaps", type=int, default=50)
    add("--clients", type=int, default=4)
    add(
        "--pause",
        type=float,
        default=0.05,
        help="seconds after each call: without, loading takes long",
    )
    add_request_arguments(parser)
    add("--server-flags", default="", help="further flags of the server, as one argument")
    arguments = parser.parse_args()
    if arguments.swaps <= REFERENCE_SWAP:
        parser.error(f"--swaps should be more than {REFERENCE_SWAP}: it is the swap that memory is compared with")

    import psutil

    from serving.client.prediction_client import PredictionClient
    from serving.server.process import ServerProcess

    flags = [NO_TEXT_CACHE, *shlex.split(arguments.server_flags)]
    with measured_model(arguments) as directory, base_path_of(directory) as base_path:
        print(
            f"{description(directory)}\n{machine()}; {arguments.clients} clients, {arguments.signature}\n", flush=True
        )
        with (
            ServerProcess(base_path, NAME, arguments=flags) as server,
            PredictionClient(server.address, NAME, timeout=60) as client,
            Clients(arguments.clients, server.address) as clients,
        ):
            spec = client.metadata().signatures[arguments.signature]
            texts = Texts("query", query=arguments.words)
            items = known_items(client, arguments.signature)
            recipe = Recipe(spec, texts, items, arguments.events, len(items))
            clients.prepare(arguments.clients, arguments.signature, recipe, _REQUESTS, 1)
            clients.start(arguments.clients, float("inf"), arguments.pause)
            process = psutil.Process(server.pid)
            memory, seconds = [], []
            for swap in range(1, arguments.swaps + 1):
                seconds.append(_swap(client, base_path, directory, swap + 1))
                memory.append(process.memory_info().rss / 2**20)
                print(f"swap {swap}: {seconds[-1]:.1f} s, {memory[-1]:,.0f} MiB", file=sys.stderr, flush=True)
            clients.stop()
            calls = clients.collect(arguments.clients)

    failed, sent = calls.failures.total(), len(calls.seconds) + calls.failures.total()
    growth = memory[-1] / memory[REFERENCE_SWAP - 1]
    print(f"{'calls':>10}{'calls/s':>10}{'p50':>10}{'p99':>10}{'longest':>10}   {'swap':>8}{'longest':>9}")
    print(
        f"{sent:>10,}{calls.rate:>10,.0f}{calls.milliseconds(50):>7.1f} ms{calls.milliseconds(99):>7.1f} ms"
        f"{calls.milliseconds(100):>7.0f} ms   {np.median(seconds):>6.1f} s{max(seconds):>7.1f} s"
    )
    codes = ", ".join(f"{count} {code}" for code, count in calls.failures.most_common())
    print(f"\nfailed or lost calls: {failed} of {sent:,}: {verdict(failed == 0)}")
    if failed:
        print(f"  {codes}; for example: {calls.example}")
    print(
        f"memory after swap {REFERENCE_SWAP} {memory[REFERENCE_SWAP - 1]:,.0f} MiB, after swap {arguments.swaps} "
        f"{memory[-1]:,.0f} MiB: {growth:.2f}x of at most {MAX_GROWTH}x: {verdict(growth <= MAX_GROWTH)}"
    )
    print(machine())


def _swap(client, base_path: Path, directory: Path, version: int) -> float:
    """Adds a version, waits until it has replaced the one before, and removes that one. Returns the seconds."""
    start = time.monotonic()
    add_version(base_path, version, directory)
    while True:
        states = {status.version: status for status in client.status()}
        if version in states and states[version].error:
            sys.exit(f"version {version} cannot be loaded: {states[version].error}")
        if version in states and states[version].state == "AVAILABLE" and states[version - 1].state == "END":
            break
        if time.monotonic() - start > _MAX_SWAP:
            sys.exit(f"version {version} was not swapped in within {_MAX_SWAP:.0f} s")
        time.sleep(0.05)
    (base_path / str(version - 1)).unlink()
    return time.monotonic() - start


if __name__ == "__main__":
    main()
