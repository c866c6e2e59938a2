"""A batch, and the calls that share it."""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

from serving.server.request_errors import RequestError

_FULL = 0.0  # value of `due` for a batch that takes no more tasks: it may run at once


class Task:
    """The rows of one call in a batch.

    Attributes:
        arrays: the call's inputs, batch first.
        rows: the size of their first dimension.
        deadline: on `time.monotonic`'s clock; None for no deadline.
        outputs: the call's outputs, once the task has ended without an error.
    """

    def __init__(self, arrays: Sequence[np.ndarray], rows: int, deadline: float | None) -> None:
        self.arrays = arrays
        self.rows = rows
        self.deadline = deadline
        self.outputs: list[np.ndarray] = []
        self._error: RequestError | None = None
        self._ended = threading.Event()

    def end(self, error: RequestError | None = None) -> None:
        """Ends the task, with an error or with `outputs`, and wakes its caller. Only the first `end` counts."""
        if not self._ended.is_set():
            self._error = error
            self._ended.set()

    def wait(self) -> bool:
        """True once the task has ended, False at the deadline."""
        return self._ended.wait(None if self.deadline is None else max(0.0, self.deadline - time.monotonic()))

    def result(self) -> list[np.ndarray]:
        """The outputs of an ended task.

        Raises:
            RequestError: a new object each time, since several threads raise the error of one batch.
        """
        if self._error is not None:
            raise RequestError(self._error.code, self._error.message)
        return self.outputs


Process = Callable[[list[Task]], None]


class QueueKey(NamedTuple):
    """Identifies a queue: its tasks have the same model version (`owner`) and the same inputs and outputs."""

    owner: Hashable
    inputs: tuple[Hashable, ...]
    outputs: tuple[Hashable, ...]


class Batch:
    """Tasks of one queue and one shape that run together.

    Attributes:
        process: runs the tasks.
        due: when the batch may run, on `time.monotonic`'s clock.
        rows: sum of the rows of all tasks.
    """

    __slots__ = ("due", "key", "process", "rows", "shape", "tasks")

    def __init__(self, key: QueueKey, shape: Hashable, process: Process, due: float) -> None:
        self.key = key
        self.shape = shape
        self.process = process
        self.due = due
        self.rows = 0
        self.tasks: list[Task] = []

    def add(self, task: Task) -> None:
        self.tasks.append(task)
        self.rows += task.rows

    def remove(self, task: Task) -> None:
        self.tasks.remove(task)
        self.rows -= task.rows

    @property
    def is_full(self) -> bool:
        return self.due == _FULL

    def close(self) -> None:
        """From now on the batch takes no more tasks and may run at once."""
        self.due = _FULL
