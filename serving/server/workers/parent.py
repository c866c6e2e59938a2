"""`--workers N`: several server processes behind one port, and the parent that starts, watches and ends them.

Python runs one thread at a time in a process, so that a processor's worth of calls is the most that one process
answers. Linux shares new connections out among the processes that listen on a port with SO_REUSEPORT.
"""

import argparse
import contextlib
import logging
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from serving.wire.api import host_port
from serving.wire.errors import ServerError

logger = logging.getLogger(__name__)

READY = "serving "  # begins the line a worker prints when it answers
FAILURE = "failure: "  # begins the line a worker prints when it cannot start
_STOP_SECONDS = 35.0  # until workers that were asked to stop are killed
_FAILED_RESTARTS = 5  # in a row, until the parent gives up where no worker answers
_LONGEST_PAUSE = 60.0  # seconds between two attempts while others answer


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[str]
    ready: bool = False
    failure: str = ""


_Event = tuple[Literal["ready", "ended"], _Worker, str] | tuple[Literal["start"], int] | tuple[Literal["stop"]]


def serve_with_workers(argv: Sequence[str], flags: argparse.Namespace) -> None:
    """Runs `flags.workers` servers until the process is asked to stop. Prints one line when all of them answer.

    Raises:
        ServerError: a port is taken, or a worker cannot start.
    """
    with contextlib.ExitStack() as held:
        port = held.enter_context(_reserve(flags.host, flags.port)).getsockname()[1]
        if flags.rest_api_port:
            held.enter_context(_reserve(flags.host, flags.rest_api_port))
        _Parent([*argv, f"--port={port}"], flags.workers).run()


class _Parent:
    def __init__(self, argv: Sequence[str], count: int) -> None:
        self._command = [sys.executable, "-m", "serving.server.workers.worker", *argv]
        self._count = count
        self._workers: dict[int, _Worker] = {}
        self._announced = False
        self._failed_restarts = 0
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()  # may be filled by a signal's handler

    def run(self) -> None:
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, lambda *_: self._events.put(("stop",)))
        try:
            for number in range(1, self._count + 1):
                self._start(number)
            while (event := self._events.get())[0] != "stop":
                self._handle(event)
        finally:
            self._stop()

    def _start(self, number: int) -> None:
        # A session of its own: Ctrl-C in a terminal reaches the parent only, which passes it on. A worker stops when
        # its standard input ends, hence also when the parent was killed.
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        worker = self._workers[number] = _Worker(number, process)
        threading.Thread(target=self._read, args=(worker,), name=f"worker-{number}", daemon=True).start()

    def _read(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            if line.startswith(READY):
                self._events.put(("ready", worker, line.strip()))
            elif line.startswith(FAILURE):
                worker.failure = line.removeprefix(FAILURE).strip()
        code = worker.process.wait()
        self._events.put(("ended", worker, worker.failure or f"it ended with exit code {code}"))

    def _handle(self, event: _Event) -> None:
        if event[0] == "start":
            self._start(event[1])
        elif event[0] == "ready":
            event[1].ready = True
            self._failed_restarts = 0
            if not self._announced and all(worker.ready for worker in self._workers.values()):
                self._announced = True
                print(f"{event[2]}, {self._count} workers", flush=True)
        elif event[0] == "ended":
            self._replace(event[1], event[2])

    def _replace(self, worker: _Worker, reason: str) -> None:
        if not self._announced:
            raise ServerError(f"worker {worker.number} cannot start: {reason}")
        self._failed_restarts += not worker.ready
        pause = 0.0 if worker.ready else min(2.0**self._failed_restarts, _LONGEST_PAUSE)
        worker.ready = False
        if self._failed_restarts > _FAILED_RESTARTS and not any(one.ready for one in self._workers.values()):
            raise ServerError(f"worker {worker.number} cannot start again after {_FAILED_RESTARTS} attempts: {reason}")
        logger.error("worker %d: %s; starting it again in %.0f s", worker.number, reason, pause)
        timer = threading.Timer(pause, self._events.put, [("start", worker.number)])
        timer.daemon = True
        timer.start()

    def _stop(self) -> None:
        """Asks every worker to stop and waits for them, so that nothing is left behind."""
        for worker in self._workers.values():
            worker.process.terminate()
        for worker in self._workers.values():
            try:
                worker.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                logger.error("worker %d did not stop within %.0f s: killed", worker.number, _STOP_SECONDS)
                worker.process.kill()
                worker.process.wait()


def _reserve(host: str, port: int) -> socket.socket:
    """A socket that holds the port for the workers; it does not listen, so no connection goes to it.

    Raises:
        ServerError: another program listens there, even one that would share the port.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            address = (host, probe.getsockname()[1], *address[2:])
        reserved = socket.socket(family, kind)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except OSError as error:
        raise ServerError(f"cannot listen on {host_port(host, port)}: {error.strerror or error}") from None
    return reserved
