"""`--workers N`: starts several server processes behind one port, watches them, and stops them.

Python runs one thread at a time in a process, so one process answers at most as many calls as one processor can. Linux
distributes new connections among the processes that listen on a port with SO_REUSEPORT.
"""

import argparse
import contextlib
import logging
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from serving.server.output_lines import FAILURE, READY
from serving.server.workers.reserved_port import reserve_port
from serving.wire.errors import ServerError

logger = logging.getLogger(__name__)

_STOP_SECONDS = 35.0  # workers that have not ended this long after the request to stop are killed
_MAX_FAILED_RESTARTS = 5  # after more failed restarts in a row, and with no worker ready, the supervisor gives up
_MAX_PAUSE_SECONDS = 60.0  # between two restarts


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[str]
    ready: bool = False
    failure: str = ""  # the error that the worker printed


@dataclass(frozen=True)
class _Ready:
    """A worker is ready and has printed `line`."""

    worker: _Worker
    line: str


@dataclass(frozen=True)
class _Ended:
    """A worker's process has ended."""

    worker: _Worker
    reason: str


@dataclass(frozen=True)
class _RestartDue:
    """The pause before the restart of a worker is over."""

    number: int


@dataclass(frozen=True)
class _StopRequested:
    """The supervisor got SIGTERM or SIGINT."""


def serve_with_workers(argv: Sequence[str], flags: argparse.Namespace) -> None:
    """Runs `flags.workers` servers until the process is asked to stop. Prints one line when all of them are ready.

    Raises:
        ServerError: a port is taken, or a worker cannot start.
    """
    with contextlib.ExitStack() as reserved:
        port = reserved.enter_context(reserve_port(flags.host, flags.port)).getsockname()[1]
        if flags.rest_api_port:
            reserved.enter_context(reserve_port(flags.host, flags.rest_api_port))
        _Supervisor([*argv, f"--port={port}"], flags.workers).run()


class _Supervisor:
    """Handles events one after the other in the main thread.

    Signal handlers, timers and the threads that read the workers' output put events into the queue.
    """

    def __init__(self, argv: Sequence[str], count: int) -> None:
        self._command = [sys.executable, "-m", "serving.server.workers.worker", *argv]
        self._count = count
        self._workers: dict[int, _Worker] = {}
        self._announced = False  # True once all workers have been ready at the same time
        self._failed_restarts = 0  # in a row
        # A SimpleQueue, because a signal handler may interrupt `get` to put an event.
        self._events: queue.SimpleQueue[_Ready | _Ended | _RestartDue | _StopRequested] = queue.SimpleQueue()

    def run(self) -> None:
        for stop_signal in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stop_signal, lambda *_: self._events.put(_StopRequested()))
        try:
            for number in range(1, self._count + 1):
                self._start(number)
            self._handle_events()
        finally:
            self._stop()

    def _handle_events(self) -> None:
        while True:
            event = self._events.get()
            if isinstance(event, _StopRequested):
                return
            if isinstance(event, _RestartDue):
                self._start(event.number)
            elif isinstance(event, _Ready):
                self._note_ready(event.worker, event.line)
            else:
                self._replace(event.worker, event.reason)

    def _start(self, number: int) -> None:
        # Each worker has a session of its own, so that Ctrl-C in a terminal reaches only the supervisor, which then
        # stops the workers. If the supervisor is killed, the worker's standard input ends, and the worker stops too.
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        worker = self._workers[number] = _Worker(number, process)
        threading.Thread(target=self._read_output, args=(worker,), name=f"worker-{number}", daemon=True).start()

    def _read_output(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            if line.startswith(READY):
                self._events.put(_Ready(worker, line.strip()))
            elif line.startswith(FAILURE):
                worker.failure = line.removeprefix(FAILURE).strip()
        code = worker.process.wait()
        self._events.put(_Ended(worker, worker.failure or f"it ended with exit code {code}"))

    def _note_ready(self, worker: _Worker, line: str) -> None:
        worker.ready = True
        self._failed_restarts = 0
        if not self._announced and all(each.ready for each in self._workers.values()):
            self._announced = True
            print(f"{line}, {self._count} workers", flush=True)

    def _replace(self, worker: _Worker, reason: str) -> None:
        """Restarts a worker: at once if it had been ready, otherwise after a pause that doubles at each failure."""
        if not self._announced:
            raise ServerError(f"worker {worker.number} cannot start: {reason}")
        self._failed_restarts += not worker.ready
        pause = 0.0 if worker.ready else min(2.0**self._failed_restarts, _MAX_PAUSE_SECONDS)
        worker.ready = False
        if self._failed_restarts > _MAX_FAILED_RESTARTS and not any(each.ready for each in self._workers.values()):
            raise ServerError(
                f"worker {worker.number} cannot start again after {_MAX_FAILED_RESTARTS} attempts: {reason}"
            )
        logger.error("worker %d: %s; starting it again in %.0f s", worker.number, reason, pause)
        timer = threading.Timer(pause, self._events.put, [_RestartDue(worker.number)])
        timer.daemon = True
        timer.start()

    def _stop(self) -> None:
        """Asks every worker to stop and waits until all have ended."""
        for worker in self._workers.values():
            worker.process.terminate()
        for worker in self._workers.values():
            try:
                worker.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                logger.error("worker %d did not stop within %.0f s: killed", worker.number, _STOP_SECONDS)
                worker.process.kill()
                worker.process.wait()
