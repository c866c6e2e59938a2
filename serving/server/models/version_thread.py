"""A thread that loads and unloads one version of a model."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class VersionThread:
    """Runs functions one after the other in its own thread, which lives as long as the version.

    This keeps the process from growing with every swap of versions. glibc gives each thread a part of the heap, an
    arena, and reuses the arena for another thread after the first has ended. So everything that a version allocates
    lies together in one arena, and can go back to the operating system as a whole when the version is unloaded. If one
    thread loaded all versions, their memory would be mixed on the same pages, and a page with anything left in it
    cannot go back.

    Args:
        name: of the thread. It is a daemon thread, so it does not keep the process from ending.
    """

    def __init__(self, name: str) -> None:
        self._tasks: queue.SimpleQueue[tuple[Future, Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[[], Any]) -> Future:
        """Runs the function after those submitted before. The future gets its result or its error."""
        future: Future = Future()
        self._tasks.put((future, function))
        return future

    def end(self) -> None:
        """Lets the thread end after the functions submitted so far. Returns at once."""
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
