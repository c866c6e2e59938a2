"""Which calls share a batch, and when it runs: queues, one for each set of inputs and outputs, and their threads.

The rules are those of TensorFlow's `SharedBatchScheduler`. A batch waits open for more calls until it is full or
`batch_timeout_micros` old, and then for a free thread; a call that fits a waiting open batch still joins it. Queues
take turns.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import grpc
import numpy as np

from serving.server.batching.parameters import BatchingParameters
from serving.server.request_errors import RequestError, invalid_argument

logger = logging.getLogger(__name__)


class Task:
    """One call's share of a batch.

    Attributes:
        arrays: inputs, batch first.
        rows: the size of their first dimension.
        deadline: on `time.monotonic`'s clock; None for none.
        outputs: what `process` found for it, once the task has ended without an error.
    """

    def __init__(self, arrays: Sequence[np.ndarray], rows: int, deadline: float | None) -> None:
        self.arrays = arrays
        self.rows = rows
        self.deadline = deadline
        self.outputs: list[np.ndarray] = []
        self._error: RequestError | None = None
        self._ended = threading.Event()

    def end(self, error: RequestError | None = None) -> None:
        """Lets the caller go on. The first one counts."""
        if not self._ended.is_set():
            self._error = error
            self._ended.set()

    def wait(self) -> bool:
        """True once the task has ended, False at the deadline."""
        return self._ended.wait(None if self.deadline is None else max(0.0, self.deadline - time.monotonic()))

    def result(self) -> list[np.ndarray]:
        """The outputs of an ended task.

        Raises:
            RequestError: one of its own for each task, since several threads raise the batch's.
        """
        if self._error is not None:
            raise RequestError(self._error.code, self._error.message)
        return self.outputs


Process = Callable[[list[Task]], None]


class Queue(NamedTuple):
    """What tasks have in common that can share a batch: whose they are, and the graph's inputs and outputs."""

    owner: Hashable
    inputs: tuple[Hashable, ...]
    outputs: tuple[Hashable, ...]


class _Batch:
    """Tasks that run together. `due` is the time from which it may run, on `time.monotonic`'s clock."""

    __slots__ = ("due", "process", "queue", "rows", "shape", "tasks")

    def __init__(self, queue: Queue, shape: Hashable, process: Process, due: float) -> None:
        self.queue = queue
        self.shape = shape
        self.process = process
        self.due = due
        self.rows = 0
        self.tasks: list[Task] = []


_FULL = 0.0  # a batch that takes no more is due at once


class BatchScheduler:
    """Forms batches and runs them on `num_batch_threads` threads, which start with it and end with `stop`."""

    def __init__(self, parameters: BatchingParameters) -> None:
        self.parameters = parameters
        lock = threading.Lock()
        self._changed = threading.Condition(lock)  # for the threads
        self._ended = threading.Condition(lock)  # for whoever waits for the end of batches
        self._queues: OrderedDict[Queue, list[_Batch]] = OrderedDict()  # none of them empty
        self._running: list[_Batch] = []
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{parameters.thread_pool_name}-{number}", daemon=True)
            for number in range(parameters.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, queue: Queue, shape: Hashable, task: Task, process: Process) -> list[np.ndarray]:
        """Runs `task` in a batch with others of the same queue and shape, and returns its outputs.

        Args:
            queue: tasks of different queues never share a batch; a queue holds `max_enqueued_batches`.
            shape: nor do tasks of different shapes.
            process: runs a batch: sets every task's `outputs`. It is the same for all of a queue.

        Raises:
            RequestError: INVALID_ARGUMENT (more rows than a batch may have), UNAVAILABLE (the queue is full),
                DEADLINE_EXCEEDED, or what `process` raised.
        """
        self._enqueue(queue, shape, task, process)
        if not task.wait():
            where = "waiting in batching queue" if self._withdraw(queue, task) else "its batch was run"
            raise RequestError(grpc.StatusCode.DEADLINE_EXCEEDED, f"Run() timeout exceeded while {where}")
        return task.result()

    @property
    def enqueued_batches(self) -> int:
        """Batches that wait for their time or for a thread, in all queues."""
        with self._changed:
            return sum(len(batches) for batches in self._queues.values())

    def drain(self, owner: Hashable) -> None:
        """Waits until no batch of `owner` is enqueued or runs. It may enqueue no more."""
        with self._changed:
            self._ended.wait_for(
                lambda: (
                    all(batch.queue.owner is not owner for batch in self._running)
                    and all(queue.owner is not owner for queue in self._queues)
                )
            )

    def stop(self) -> None:
        """Ends the threads, each after its batch. Nothing may be enqueued any more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _enqueue(self, queue: Queue, shape: Hashable, task: Task, process: Process) -> None:
        largest = self.parameters.max_batch_size
        if task.rows > largest:
            raise invalid_argument(f"Task size {task.rows} is larger than maximum input batch size {largest}")
        with self._changed:
            batches = self._queues.get(queue, [])
            batch = next((one for one in reversed(batches) if one.shape == shape and one.due != _FULL), None)
            if batch is not None and batch.rows + task.rows > largest:
                batch.due = _FULL
                batch = None
                self._changed.notify()
            if batch is None:
                if len(batches) >= self.parameters.max_enqueued_batches:
                    raise RequestError(
                        grpc.StatusCode.UNAVAILABLE,
                        "The batch scheduling queue to which this task was submitted is full; currently"
                        f" num_enqueued_batches={len(batches)}, max_enqueued_batches="
                        f"{self.parameters.max_enqueued_batches}",
                    )
                batch = _Batch(queue, shape, process, time.monotonic() + self.parameters.batch_timeout_micros / 1e6)
                batches.append(batch)
                self._queues[queue] = batches
                self._changed.notify()
            batch.tasks.append(task)
            batch.rows += task.rows
            if batch.rows >= largest:
                batch.due = _FULL
                self._changed.notify()

    def _withdraw(self, queue: Queue, task: Task) -> bool:
        """Takes a task out of its queue. False if it runs already: then it is left to end by itself."""
        with self._changed:
            batch = next((one for one in self._queues.get(queue, []) if task in one.tasks), None)
            if batch is None:
                return False
            batch.tasks.remove(task)
            batch.rows -= task.rows
            if not batch.tasks:
                self._remove(batch)
                self._ended.notify_all()
            return True

    def _remove(self, batch: _Batch) -> None:
        batches = self._queues[batch.queue]
        batches.remove(batch)
        if not batches:
            del self._queues[batch.queue]

    def _work(self) -> None:
        while True:
            batch = self._next()
            if batch is None:
                return
            _run(batch)
            with self._changed:
                self._running.remove(batch)
                self._ended.notify_all()
            # A thread that waits should not keep the arrays alive, nor the model, which may be unloaded meanwhile.
            del batch

    def _next(self) -> _Batch | None:
        """Waits for a batch that is due and takes it; None when the scheduler stops."""
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                batch = self._take(now)
                if batch is not None:
                    return batch
                earliest = min((one.due for batches in self._queues.values() for one in batches), default=None)
                self._changed.wait(None if earliest is None else earliest - now)
        return None

    def _take(self, now: float) -> _Batch | None:
        """A batch that is due. By itself, so that a thread that waits has no variable left that holds a model."""
        for queue, batches in self._queues.items():
            for batch in batches:
                if batch.due <= now:
                    self._remove(batch)
                    self._running.append(batch)
                    if queue in self._queues:
                        self._queues.move_to_end(queue)  # the others' turn
                    if self._queues:
                        self._changed.notify()  # whoever waits now minds the other batches' times
                    return batch
        return None


def _run(batch: _Batch) -> None:
    error: RequestError | None = None
    try:
        batch.process(batch.tasks)
    except RequestError as refusal:
        error = refusal
    except Exception as defect:
        logger.exception("a batch of %d calls failed", len(batch.tasks))
        error = RequestError(grpc.StatusCode.INTERNAL, f"{type(defect).__name__}: {defect}")
    for task in batch.tasks:
        task.end(error)
