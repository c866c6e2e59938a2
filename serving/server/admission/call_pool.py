"""The threads that answer calls."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class CallPool(ThreadPoolExecutor):
    """A thread pool that counts the calls in flight.

    Attributes:
        calls: number of calls that run or wait for a thread.
    """

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self.calls = 0
        self._lock = threading.Lock()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future:
        with self._lock:
            self.calls += 1
        try:
            future = super().submit(function, *arguments, **named)
        except BaseException:
            self._end()
            raise
        # Counted down in a callback of the future: if the call is cancelled while it waits, the function never runs.
        future.add_done_callback(self._end)
        return future

    def _end(self, future: Future | None = None) -> None:
        with self._lock:
            self.calls -= 1
