"""A thread for all that is done to one version of a model, from its load to its end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class Keeper:
    """Runs functions one after the other in a thread of its own.

    glibc gives a thread a part of the heap, an arena, which other threads take over once it has ended. A thread that
    loads a version and lives as long as it keeps what the version needs in an arena where nothing else outlives it, so
    that it goes back to the operating system with the version. From one thread for all versions, what stays of each
    would be spread over the pages of those before it.

    Args:
        name: of the thread, which does not keep the process from ending.
    """

    def __init__(self, name: str) -> None:
        self._tasks: queue.SimpleQueue[tuple[Future, Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[[], Any]) -> Future:
        """What the function will return or raise."""
        future: Future = Future()
        self._tasks.put((future, function))
        return future

    def end(self) -> None:
        """Ends the thread once it has done all that it was given."""
        self._tasks.put(None)

    def join(self) -> None:
        """Waits for that end."""
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
            del task, future, function  # nor what they refer to, while it waits
