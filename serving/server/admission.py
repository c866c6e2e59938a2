"""How many calls may wait for a thread, so that more calls than the server can answer are refused at once.

A queue without end would answer every call late, and those that are answered first would be those whose callers have
waited longest, or have given up. TensorFlow Serving has no queue at all: it refuses what finds no thread. Here some
calls may wait, so that a burst is answered; but when calls had to be refused, more come than can be answered, and
waiting would only make all of them slow: until none was refused for a while, none waits.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

_CALM_SECONDS = 1.0  # without a refusal, until calls may wait again


class Admission:
    """Says which calls are refused. One thread asks.

    Args:
        threads: that answer calls.
        waiting: calls that may wait for one of them.
        count: called for each refusal.
        clock: in seconds.
    """

    def __init__(
        self, threads: int, waiting: int, count: Callable[[], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._threads = threads
        self._waiting = waiting
        self._count = count
        self._clock = clock
        self._last_refusal = -_CALM_SECONDS

    def refuses(self, calls: int) -> bool:
        """Whether to refuse one more call where `calls` are being answered or wait."""
        if calls < self._threads:
            return False
        now = self._clock()
        if calls < self._threads + self._waiting and now - self._last_refusal >= _CALM_SECONDS:
            return False
        self._last_refusal = now
        self._count()
        return True

    @property
    def message(self) -> str:
        return (
            f"Server Threadpool Exhausted: {self._threads} calls are being answered, and as many wait as may:"
            f" {self._waiting}, or none while the server is overloaded"
        )


class CallPool(ThreadPoolExecutor):
    """Threads for calls.

    Attributes:
        calls: that are being answered or wait for a thread.
    """

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self.calls = 0
        self._counting = threading.Lock()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future:
        with self._counting:
            self.calls += 1
        try:
            future = super().submit(function, *arguments, **named)
        except BaseException:
            self._end()
            raise
        # Not in `function`: a call that is cancelled while it waits is never begun.
        future.add_done_callback(self._end)
        return future

    def _end(self, future: Future | None = None) -> None:
        with self._counting:
            self.calls -= 1
