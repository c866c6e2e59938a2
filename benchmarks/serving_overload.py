"""Overload of a server: how many calls it refuses and how fast, how late its answers are, and how soon it recovers.

First the capacity is measured, with clients that each wait for their answers. Then calls are sent at fixed rates,
whether or not others have been answered (a Poisson process): a tenth of the capacity (unloaded); half of it; a multiple
of it (overload); and half of it again. The server has recovered after the last half second of this phase in which a
call failed or the median was more than twice that of the first half load. The server's flags --grpc_max_threads and
--max_waiting_calls limit the calls that it admits.

The calls are sent by processes on this machine. If calls cost the server little, these processes take a large share of
the processors. The table shows the rates at which calls were really sent.

Command:  .venv/bin/python benchmarks/serving_overload.py --model RUN/serving/recommender
          to try it: --items 1000 --seconds 4 --calm 3
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from serving_load import Clients
from serving_model import NAME, NO_TEXT_CACHE, add_model_arguments, base_path_of, description, machine, measured_model
from serving_requests import Recipe, Request, Texts, add_request_arguments, known_items
from verdict import verdict

REFUSALS = {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}
MAX_SLOW_DOWN = 5.0  # p99 of answers under overload, relative to unloaded
MAX_RECOVERY = 5.0  # seconds
_REQUESTS = 500
_TIMEOUT = 10.0  # seconds of a call
_WINDOW = 0.5  # seconds


class Phase(NamedTuple):
    """A time in which calls are sent at one rate."""

    name: str
    rate: float  # calls per second
    seconds: float


class CallResult(NamedTuple):
    """The result of one call.

    Attributes:
        due: time at which it should be sent, in seconds from the phase's start.
        seconds: duration, from `due` on: answers may not look faster because the sender is late.
        code: its status.
    """

    due: float
    seconds: float
    code: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    add = parser.add_argument
    add("--seconds", type=float, default=60.0, help="duration of the overload")
    add("--calm", type=float, default=20.0, help="duration of each of the other phases")
    add("--factor", type=float, default=3.0, help="rate of the overload, in capacities")
    add("--processes", type=int, default=2, help="number of processes that send calls")
    add_request_arguments(parser)
    add("--server-flags", default="", help="further flags of the server, as one argument")
    arguments = parser.parse_args()

    from serving.client.prediction_client import PredictionClient
    from serving.server.process import ServerProcess

    flags = [NO_TEXT_CACHE, *shlex.split(arguments.server_flags)]
    with measured_model(arguments) as directory, base_path_of(directory) as base_path:
        print(f"{description(directory)}\n{machine()}; server flags: {shlex.join(flags)}", flush=True)
        with (
            ServerProcess(base_path, NAME, arguments=flags) as server,
            PredictionClient(server.address, NAME, timeout=60) as client,
        ):
            spec = client.metadata().signatures[arguments.signature]
            items = known_items(client, arguments.signature)
            recipe = Recipe(spec, Texts("query", query=arguments.words), items, arguments.events, len(items))
            closed = 2 * (os.cpu_count() or 1)
            with Clients(closed, server.address) as clients:
                clients.prepare(closed, arguments.signature, recipe, _REQUESTS, 0)
                clients.call(closed, 1.0)
                capacity = clients.call(closed, arguments.calm).rate
            print(f"capacity {capacity:,.0f} calls/s, by {closed} clients; {arguments.signature}\n")
            half = capacity / 2
            phases = [
                Phase("unloaded", capacity / 10, arguments.calm),
                Phase("half load", half, arguments.calm),
                Phase("overload", capacity * arguments.factor, arguments.seconds),
                Phase("half load again", half, arguments.calm),
            ]
            results = _send_phases(server.address, arguments, recipe, phases)
    heading = "".join(f"{title:>9}" for title in ("sent/s", "OK/s", "p50", "p99", "refused", "p50", "p99"))
    print(f"{'':<18}{heading}  other")
    for phase, calls in zip(phases, results, strict=True):
        print(_line(phase, calls))
    print()
    _print_targets(*results)
    print(machine())


def _print_targets(
    unloaded: list[CallResult], before: list[CallResult], overload: list[CallResult], after: list[CallResult]
) -> None:
    others = sum(call.code not in {"OK", *REFUSALS} for call in overload)
    print(f"neither answered nor refused: {others}: {verdict(others == 0)}")
    slow_down = _milliseconds(overload, {"OK"}, 99) / _milliseconds(unloaded, {"OK"}, 99)
    print(f"p99 of answers {slow_down:.1f}x unloaded, at most {MAX_SLOW_DOWN:g}x: {verdict(slow_down < MAX_SLOW_DOWN)}")
    seconds = _recovery(before, after)
    print(f"recovered after {seconds:.1f} s, at most {MAX_RECOVERY:g} s: {verdict(seconds <= MAX_RECOVERY)}")
    last = max((call.due for call in after if call.code != "OK"), default=0.0)
    print(f"  the last call that failed was due after {last:.1f} s")
    print(f"  for comparison, the first half load by the same rule: {_recovery(before, before):.1f} s")


def _recovery(before: list[CallResult], after: list[CallResult]) -> float:
    """Seconds from the beginning of `after` to the end of its last window that differs from `before`."""
    median = _milliseconds(before, {"OK"}, 50)
    recovery = 0.0
    for number in range(int(max(call.due for call in after) / _WINDOW) + 1):
        window = [call for call in after if number <= call.due / _WINDOW < number + 1]
        failed = any(call.code != "OK" for call in window)
        if failed or (window and _milliseconds(window, {"OK"}, 50) > 2 * median):
            recovery = (number + 1) * _WINDOW
    return recovery


def _send_phases(
    address: str, arguments: argparse.Namespace, recipe: Recipe, phases: list[Phase]
) -> list[list[CallResult]]:
    """Sends the calls of one phase after the other. Returns the results of each phase."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(arguments.processes, _set_barrier, (spawn.Barrier(arguments.processes),)) as pool:
        shares = [phase._replace(rate=phase.rate / arguments.processes) for phase in phases]
        tasks = [(address, arguments.signature, recipe, shares, seed) for seed in range(1, arguments.processes + 1)]
        calls = [call for calls in pool.starmap(_send, tasks, chunksize=1) for call in calls]
    results = []
    start = 0.0
    for phase in phases:
        within = [call for call in calls if start <= call.due < start + phase.seconds]
        results.append([call._replace(due=call.due - start) for call in within])
        start += phase.seconds
    return results


def _line(phase: Phase, calls: Sequence[CallResult]) -> str:
    codes = Counter(call.code for call in calls)
    refused = sum(codes[code] for code in REFUSALS)
    others = ", ".join(f"{count} {code}" for code, count in codes.items() if code not in {"OK", *REFUSALS})
    return (
        f"{phase.name:<18}{len(calls) / phase.seconds:>9,.0f}{codes['OK'] / phase.seconds:>9,.0f}"
        f"{_cells(calls, {'OK'})}{refused:>9,}{_cells(calls, REFUSALS)}  {others or '-'}"
    )


def _cells(calls: Sequence[CallResult], codes: set[str]) -> str:
    if not any(call.code in codes for call in calls):
        return f"{'-':>9}{'-':>9}"
    return "".join(f"{_milliseconds(calls, codes, percentile):>6.1f} ms" for percentile in (50, 99))


def _milliseconds(calls: Sequence[CallResult], codes: set[str], percentile: float) -> float:
    seconds = [call.seconds for call in calls if call.code in codes]
    return 1000 * float(np.percentile(seconds, percentile)) if seconds else float("nan")


_barrier = None  # of the processes that send calls, so that they start together


def _set_barrier(barrier) -> None:
    global _barrier
    _barrier = barrier


def _send(address: str, signature: str, recipe: Recipe, phases: Sequence[Phase], seed: int) -> list[CallResult]:
    bodies = [_body(signature, request) for request in recipe.make(_REQUESTS, seed)]
    random = np.random.default_rng(seed)
    times: list[float] = []
    start = 0.0
    for _, rate, seconds in phases:
        times += (start + np.sort(random.uniform(0, seconds, random.poisson(rate * seconds)))).tolist()
        start += seconds
    _barrier.wait()
    return asyncio.run(_send_at(address, bodies, times))


async def _send_at(address: str, bodies: Sequence[bytes], times: Sequence[float]) -> list[CallResult]:
    import grpc

    results: list[CallResult] = []
    async with grpc.aio.insecure_channel(address) as channel:
        method = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

        async def call(body: bytes, due: float) -> None:
            try:
                await method(body, timeout=_TIMEOUT)
                code = "OK"
            except grpc.aio.AioRpcError as error:
                code = error.code().name
            results.append(CallResult(due, time.perf_counter() - start - due, code))

        await channel.channel_ready()
        start = time.perf_counter()
        running = set()
        for number, due in enumerate(times):
            if (early := start + due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            task = asyncio.create_task(call(bodies[number % len(bodies)], due))
            running.add(task)
            task.add_done_callback(running.discard)
        while running:
            await asyncio.wait(running)
    return results


def _body(signature: str, request: Request) -> bytes:
    from serving.wire.protos import wire_pb2
    from serving.wire.tensors import fill_tensor

    message = wire_pb2.PredictRequest()
    message.model_spec.name = NAME
    message.model_spec.signature_name = signature
    for name, value in request.items():
        fill_tensor(message.inputs[name], value, packed=True)
    return message.SerializeToString()


if __name__ == "__main__":
    main()
