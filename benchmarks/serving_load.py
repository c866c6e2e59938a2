"""Clients that call a server, one call after the other, each in its own process with its own connection."""

from __future__ import annotations

import functools
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from types import TracebackType

import numpy as np
from serving_model import NAME
from serving_requests import Recipe

_TIMEOUT = 30.0  # seconds; a call without an answer by then is lost


@dataclass
class Calls:
    """Results of calls.

    Attributes:
        seconds: duration of each answered call.
        failures: number of other calls by status code.
        example: the message of one failure.
        elapsed: seconds in which the calls were made.
    """

    seconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    example: str = ""
    elapsed: float = 0.0

    def then(self, later: Calls) -> Calls:
        """The sum of these and calls that were made after them."""
        return Calls(*self._both(later), self.elapsed + later.elapsed)

    def beside(self, other: Calls) -> Calls:
        """The sum of these and calls that were made at the same time."""
        return Calls(*self._both(other), max(self.elapsed, other.elapsed))

    def _both(self, other: Calls) -> tuple[list[float], Counter[str], str]:
        return self.seconds + other.seconds, self.failures + other.failures, self.example or other.example

    def milliseconds(self, percentile: float) -> float:
        return 1000 * float(np.percentile(self.seconds, percentile)) if self.seconds else float("nan")

    @property
    def rate(self) -> float:
        """Answered calls per second."""
        return len(self.seconds) / self.elapsed if self.elapsed else 0.0


class Clients:
    """A context manager; leaving it ends the processes.

    Args:
        count: number of processes.
        address: address of the server's gRPC port.
    """

    def __init__(self, count: int, address: str) -> None:
        spawn = multiprocessing.get_context("spawn")  # a forked process would lack TensorFlow's threads
        self._stop = spawn.Event()
        self._pipes: list[Connection] = []
        self._processes = []
        for number in range(count):
            here, there = spawn.Pipe()
            process = spawn.Process(target=_client, args=(there, self._stop, address, number), daemon=True)
            process.start()
            self._pipes.append(here)
            self._processes.append(process)
        self._ask(count, "ready")

    def prepare(self, count: int, signature: str, recipe: Recipe, requests: int, seed: int) -> None:
        """Makes different requests for each of `count` clients, which they send from now on."""
        self._ask(count, "prepare", signature, recipe, requests, seed)

    def call(self, count: int, seconds: float) -> Calls:
        """Lets `count` clients call for so many seconds."""
        self.start(count, seconds)
        return self.collect(count)

    def start(self, count: int, seconds: float, pause: float = 0.0) -> None:
        """Lets `count` clients call until `stop` or for so many seconds; each pauses after a call."""
        self._stop.clear()
        for pipe in self._pipes[:count]:
            pipe.send(("call", seconds, pause))

    def stop(self) -> None:
        self._stop.set()

    def collect(self, count: int) -> Calls:
        """Waits for all clients. Returns the results of the calls since `start`."""
        total = Calls()
        for pipe in self._pipes[:count]:
            total = total.beside(pipe.recv())
        return total

    def _ask(self, count: int, *message: object) -> None:
        for pipe in self._pipes[:count]:
            pipe.send(message)
        for pipe in self._pipes[:count]:
            pipe.recv()

    def __enter__(self) -> Clients:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()


def call_repeatedly(call, requests: Iterable, seconds: float, pause: float = 0.0, stop: Event | None = None) -> Calls:
    """Sends one request after the other for so many seconds, or until `stop` is set; pauses after each call."""
    from serving.wire.errors import ServingError

    calls = Calls()
    start = time.perf_counter()
    while True:
        for request in requests:
            before = time.perf_counter()
            if before - start >= seconds or (stop is not None and stop.is_set()):
                calls.elapsed = before - start
                return calls
            try:
                call(request)
            except ServingError as error:
                calls.failures[error.code] += 1
                calls.example = calls.example or error.message
            else:
                calls.seconds.append(time.perf_counter() - before)
            if pause:
                time.sleep(pause)


def _client(pipe: Connection, stop: Event, address: str, number: int) -> None:
    from serving.client.prediction_client import PredictionClient
    from serving.client.retry import Retry

    threading.Thread(target=_end_with_parent, daemon=True).start()
    requests: list = []
    signature = ""
    with PredictionClient(address, NAME, _TIMEOUT, retry=Retry(attempts=1)) as client:
        while True:
            try:
                message = pipe.recv()
            except (EOFError, OSError):  # the benchmark has ended
                return
            if message[0] == "call":
                call = functools.partial(client.predict, signature)
                pipe.send(call_repeatedly(call, requests, *message[1:], stop))
                continue
            if message[0] == "prepare":
                _, signature, recipe, count, seed = message
                requests = recipe.make(count, 1000 * seed + number)
            pipe.send("done")


def _end_with_parent() -> None:
    """Ends this process with the benchmark: a client that calls until `stop` would otherwise never end."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
