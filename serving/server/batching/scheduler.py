"""Puts calls into batches and runs the batches on threads, by the rules of TensorFlow's `SharedBatchScheduler`.

Each combination of model version, inputs and outputs has a queue of batches. A batch may run as soon as it is full or
`batch_timeout_micros` old. Until a thread is free to run it, calls that fit can still join it. Queues take turns.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable

import grpc
import numpy as np

from serving.server.batching.batch import Batch, Process, QueueKey, Task
from serving.server.batching.parameters import BatchingParameters
from serving.server.request_errors import RequestError, invalid_argument, unavailable

logger = logging.getLogger(__name__)


class BatchScheduler:
    """Forms batches and runs them on `num_batch_threads` threads. The threads start at once and end with `stop`."""

    def __init__(self, parameters: BatchingParameters) -> None:
        self.parameters = parameters
        lock = threading.Lock()
        self._changed = threading.Condition(lock)  # wakes the threads
        self._ended = threading.Condition(lock)  # wakes `drain`
        self._queues: OrderedDict[QueueKey, list[Batch]] = OrderedDict()  # none of them empty
        self._running: list[Batch] = []
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{parameters.thread_pool_name}-{number}", daemon=True)
            for number in range(parameters.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, key: QueueKey, shape: Hashable, task: Task, process: Process) -> list[np.ndarray]:
        """Runs `task` in a batch with other tasks of the same queue and shape, and returns the task's outputs.

        Args:
            key: identifies the queue, which holds at most `max_enqueued_batches` batches.
            shape: tasks of different shapes never share a batch.
            process: runs the tasks of a batch and sets their `outputs`; does the same for all tasks of a queue.

        Raises:
            RequestError: INVALID_ARGUMENT (more rows than a batch may have), UNAVAILABLE (the queue is full),
                DEADLINE_EXCEEDED, or the error that `process` raised.
        """
        self._enqueue(key, shape, task, process)
        if not task.wait():
            where = "waiting in batching queue" if self._withdraw(key, task) else "its batch was run"
            raise RequestError(grpc.StatusCode.DEADLINE_EXCEEDED, f"Run() timeout exceeded while {where}")
        return task.result()

    @property
    def enqueued_batches(self) -> int:
        """Number of batches, of all queues, that do not run yet."""
        with self._changed:
            return sum(len(batches) for batches in self._queues.values())

    def drain(self, owner: Hashable) -> None:
        """Waits until no batch of `owner` is enqueued or runs. The owner must not enqueue tasks any more."""
        with self._changed:
            self._ended.wait_for(
                lambda: (
                    all(batch.key.owner is not owner for batch in self._running)
                    and all(key.owner is not owner for key in self._queues)
                )
            )

    def stop(self) -> None:
        """Ends each thread after the batch that it runs. No task may be enqueued any more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    # Called by the threads of callers

    def _enqueue(self, key: QueueKey, shape: Hashable, task: Task, process: Process) -> None:
        max_rows = self.parameters.max_batch_size
        if task.rows > max_rows:
            raise invalid_argument(f"Task size {task.rows} is larger than maximum input batch size {max_rows}")
        with self._changed:
            batch = self._open_batch(key, shape)
            if batch is not None and batch.rows + task.rows > max_rows:
                self._close(batch)
                batch = None
            if batch is None:
                batch = self._new_batch(key, shape, process)
            batch.add(task)
            if batch.rows >= max_rows:
                self._close(batch)

    def _open_batch(self, key: QueueKey, shape: Hashable) -> Batch | None:
        batches = self._queues.get(key, [])
        return next((batch for batch in reversed(batches) if batch.shape == shape and not batch.is_full), None)

    def _new_batch(self, key: QueueKey, shape: Hashable, process: Process) -> Batch:
        batches = self._queues.get(key, [])
        limit = self.parameters.max_enqueued_batches
        if len(batches) >= limit:
            raise unavailable(
                "The batch scheduling queue to which this task was submitted is full; currently"
                f" num_enqueued_batches={len(batches)}, max_enqueued_batches={limit}"
            )
        batch = Batch(key, shape, process, time.monotonic() + self.parameters.batch_timeout_micros / 1e6)
        batches.append(batch)
        self._queues[key] = batches
        self._changed.notify()
        return batch

    def _close(self, batch: Batch) -> None:
        batch.close()
        self._changed.notify()

    def _withdraw(self, key: QueueKey, task: Task) -> bool:
        """Takes a task out of its queue. Returns False if its batch already runs: the task then ends with the batch."""
        with self._changed:
            batch = next((batch for batch in self._queues.get(key, []) if task in batch.tasks), None)
            if batch is None:
                return False
            batch.remove(task)
            if not batch.tasks:
                self._dequeue(batch)
                self._ended.notify_all()
            return True

    def _dequeue(self, batch: Batch) -> None:
        batches = self._queues[batch.key]
        batches.remove(batch)
        if not batches:
            del self._queues[batch.key]

    # Called by the batch threads

    def _work(self) -> None:
        while True:
            batch = self._next()
            if batch is None:
                return
            _run(batch)
            with self._changed:
                self._running.remove(batch)
                self._ended.notify_all()
            # While this thread waits, it should keep neither arrays nor the model alive: the model may be unloaded.
            del batch

    def _next(self) -> Batch | None:
        """Waits for a batch that is due and takes it. None when the scheduler stops."""
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                batch = self._take(now)
                if batch is not None:
                    return batch
                next_due = min((batch.due for batches in self._queues.values() for batch in batches), default=None)
                self._changed.wait(None if next_due is None else next_due - now)
        return None

    def _take(self, now: float) -> Batch | None:
        """Takes a batch that is due, if there is one.

        This is a separate function so that, while the thread waits in `_next`, no variable refers to a model.
        """
        for key, batches in self._queues.items():
            for batch in batches:
                if batch.due <= now:
                    self._dequeue(batch)
                    self._running.append(batch)
                    if key in self._queues:
                        self._queues.move_to_end(key)  # now it is the other queues' turn
                    if self._queues:
                        self._changed.notify()  # wakes another thread, which then waits until the other batches are due
                    return batch
        return None


def _run(batch: Batch) -> None:
    error: RequestError | None = None
    try:
        batch.process(batch.tasks)
    except RequestError as request_error:
        error = request_error
    except Exception as defect:
        logger.exception("a batch of %d calls failed", len(batch.tasks))
        error = RequestError(grpc.StatusCode.INTERNAL, f"{type(defect).__name__}: {defect}")
    for task in batch.tasks:
        task.end(error)
