"""Batching across calls: a `Servable` whose runs share batches, as TensorFlow Serving's `BatchingSession` has them.

It differs from that in five places, each time to keep one caller's input out of another caller's answer. Padding is
zeros or empty strings, this project's signatures' own, and not the tensor's first value, which would be one more event
in a user's history. Hence an empty input can be padded too. It does not make equal what was of different widths in a
call: a graph that refuses such a call should refuse it in a batch too. Calls whose shapes differ without
`pad_variable_length_inputs` go to different batches instead of all failing together. And where the graph refuses a
value, each call of the batch is run by itself.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import numpy as np

from serving.server.batching.scheduler import BatchScheduler, Queue, Task
from serving.server.request_errors import RequestError, failed_precondition, invalid_argument
from serving.server.runtime.servable import Servable


class BatchedServable(Servable):
    """A `Servable` that puts the runs of several callers together along their first dimension.

    Args:
        scheduler: of the whole server.
    """

    def __init__(self, *arguments: Any, scheduler: BatchScheduler) -> None:
        super().__init__(*arguments)
        self._scheduler = scheduler
        self.max_rows = scheduler.parameters.max_batch_size
        self._aliases = {
            declared.handle: declared.alias
            for signature in self.signatures.values()
            for declared in signature.inputs.values()
        }

    def run(self, feeds: Mapping[Any, np.ndarray], fetches: Sequence[Any], timeout_ms: int | None) -> list[Any]:
        """Runs the graph in a batch with other callers, and returns this caller's rows.

        Args:
            feeds: arrays by input handle, batch first and of one batch size. fetches: output handles.
            timeout_ms: milliseconds until the caller gives up; None for no limit.

        Raises:
            RequestError: with the code and message of TensorFlow's error, which all calls of a batch get alike but for
                INVALID_ARGUMENT; or the batching's own: INVALID_ARGUMENT, FAILED_PRECONDITION (an output is not
                batched), UNAVAILABLE.
        """
        rows = self._rows(feeds)
        arrays = list(feeds.values())
        padded = self._scheduler.parameters.pad_variable_length_inputs
        shape = tuple(array.ndim if padded else array.shape[1:] for array in arrays)
        # Answers to different output filters share a queue when they ask for the same outputs in another order.
        outputs = tuple(sorted(fetches, key=id))
        task = Task(arrays, rows, None if timeout_ms is None else time.monotonic() + timeout_ms / 1000)
        queue = Queue(self, tuple(feeds), outputs)
        values = self._scheduler.run(queue, shape, task, lambda tasks: self._run_batch(queue, tasks))
        by_handle = dict(zip(outputs, values, strict=True))
        return [by_handle[handle] for handle in fetches]

    def close(self) -> None:
        """Cancels the batches that still run or wait, whose callers gave up or had their time; frees the session."""
        super().close()
        self._scheduler.drain(self)

    def _rows(self, feeds: Mapping[Any, np.ndarray]) -> int:
        if not feeds:
            raise invalid_argument("Batching Run() must have at least one input tensor")
        for handle, array in feeds.items():
            if array.ndim == 0:
                raise invalid_argument(
                    f"Batching Run() input tensors must have at least one dimension (input {self._aliases[handle]})"
                )
        sizes = {self._aliases[handle]: array.shape[0] for handle, array in feeds.items()}
        if len(set(sizes.values())) > 1:
            given = ", ".join(f"{alias}: {size}" for alias, size in sizes.items())
            raise invalid_argument(f"Batching Run() input tensors must have equal 0th-dimension size ({given})")
        return next(iter(sizes.values()))

    def _run_batch(self, queue: Queue, tasks: list[Task]) -> None:
        try:
            self._run_together(queue, tasks)
        except RequestError as error:
            if len(tasks) == 1 or error.code != grpc.StatusCode.INVALID_ARGUMENT:
                raise
            # The graph checks values of the whole batch. Whose it was is told to that caller only.
            for task in tasks:
                try:
                    self._run_together(queue, [task])
                except RequestError as own:
                    task.end(own)

    def _run_together(self, queue: Queue, tasks: list[Task]) -> None:
        rows = sum(task.rows for task in tasks)
        total = _allowed_size(rows, self._scheduler.parameters.allowed_batch_sizes)
        shapes = padded_shapes([[array.shape[1:] for array in task.arrays] for task in tasks])
        feeds = {
            handle: merge([task.arrays[index] for task in tasks], (total, *shapes[index]))
            for index, handle in enumerate(queue.inputs)
        }
        values = super().run(feeds, queue.outputs, _timeout_ms(tasks))
        for value in values:
            if np.ndim(value) == 0:
                raise failed_precondition("Batched output tensor has 0 dimensions")
            if len(value) != total:
                raise failed_precondition(
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the"
                    " input tensors"
                )
        start = 0
        for task in tasks:
            task.outputs = [value[start : start + task.rows] for value in values]
            start += task.rows


def padded_shapes(shapes: Sequence[Sequence[tuple[int, ...]]]) -> list[tuple[int, ...]]:
    """What each input of a batch is padded to, without the first dimension: at least the largest size of any call.

    Two dimensions get the same size if they have the same size in every call, and else different ones, which takes a
    column more here and there. So where the graph wants inputs of equal widths, whichever they are, the batch passes
    only if each call would by itself; and a call whose inputs are equally wide by accident shares batches with others.
    What has one size in all calls keeps it, since the graph may count on it.

    Args:
        shapes: of each call's inputs. An input's rank is the same in all calls.
    """
    dimensions = list(zip(*([size for shape in call for size in shape] for call in shapes), strict=True))
    padded: dict[tuple[int, ...], int] = {}
    for sizes in sorted(dimensions, key=lambda sizes: (len(set(sizes)) > 1, max(sizes))):
        if sizes not in padded:
            size = max(sizes)
            while size in padded.values():
                size += 1
            padded[sizes] = size
    chosen = iter([padded[sizes] for sizes in dimensions])
    return [tuple(next(chosen) for _ in shape) for shape in shapes[0]]


def merge(arrays: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The arrays one after the other, padded with zeros or b"" to `shape`; then the first row again.

    Args:
        arrays: [rows, ...] each, of one rank and dtype.
        shape: at least the sum of their rows, and in each other dimension at least the largest of their sizes.
    """
    first = arrays[0]
    if len(arrays) == 1 and first.shape == shape:
        return first
    fill: Any = b"" if first.dtype == object else 0
    merged = np.full(shape, fill, first.dtype)
    start = 0
    for array in arrays:
        where = (slice(start, start + len(array)), *(slice(size) for size in array.shape[1:]))
        merged[where] = array
        start += len(array)
    merged[start:] = merged[:1]  # a row that is known to be valid
    return merged


def _allowed_size(rows: int, allowed: Sequence[int]) -> int:
    """The size of the batch to run. One without rows stays so: there is none to repeat."""
    return next((size for size in allowed if size >= rows), rows) if rows else 0


def _timeout_ms(tasks: Sequence[Task]) -> int | None:
    """Until the last of the deadlines; None if a task has none."""
    deadlines = [task.deadline for task in tasks if task.deadline is not None]
    if len(deadlines) < len(tasks):
        return None
    return max(1, int((max(deadlines) - time.monotonic()) * 1000))
