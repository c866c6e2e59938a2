"""A thread that loads and unloads one version of a model."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class VersionThread:
    """Runs functions one after the other in a thread of its own, which lives as long as the version.

    This keeps the process's memory flat over swaps. glibc gives each thread a part of the heap, an arena, and hands it
    to another thread once the first has ended. Memory that a version allocates in its own arena is freed as a block
    when the version is unloaded. If one thread loaded all versions, the memory that stays of each would be spread over
    the pages of the others, and none of these pages could go back to the operating system.

    Args:
        name: of the thread, which is a daemon: it does not keep the process from ending.
    """

    def __init__(self, name: str) -> None:
        self._tasks: queue.SimpleQueue[tuple[Future, Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[[], Any]) -> Future:
        """Runs the function after those submitted before; the future holds what it returns or raises."""
        future: Future = Future()
        self._tasks.put((future, function))
        return future

    def end(self) -> None:
        """Ends the thread after the functions submitted so far. Returns at once."""
        self._tasks.put(None)

    def join(self) -> None:
        """Waits until the thread has ended."""
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, function = task
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
            del task, future, function  # a waiting thread should not keep their objects alive
