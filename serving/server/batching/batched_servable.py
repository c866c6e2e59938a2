"""Batching across calls: a `Servable` that runs several calls as one batch.

It corresponds to TensorFlow Serving's `BatchingSession`. Unlike there, one caller's input never changes another
caller's answer:

- Padding is zeros or empty strings, which this project's signatures ignore. `BatchingSession` repeats the tensor's
  first value, which would add events to a user's history, and cannot pad an empty input.
- Inputs of different widths keep different widths after padding. So if the graph refuses a call because its inputs have
  different widths, it refuses the call in a batch too.
- Without `pad_variable_length_inputs`, calls of different shapes go to different batches. In `BatchingSession` they all
  fail.
- If the graph refuses a value in a batch, each call of the batch is run again by itself.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import numpy as np

from serving.server.batching.batch import QueueKey, Task
from serving.server.batching.scheduler import BatchScheduler
from serving.server.request_errors import RequestError, failed_precondition, invalid_argument
from serving.server.runtime.servable import Servable


class BatchedServable(Servable):
    """A `Servable` that concatenates the inputs of several callers along their first dimension.

    Args:
        scheduler: forms the batches; one for the whole server.
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
        """Runs the graph in a batch with other callers and returns the rows of this caller.

        Args:
            feeds: arrays by input handle, batch first, all of the same batch size.
            fetches: output handles.
            timeout_ms: milliseconds until the caller gives up; None for no limit.

        Raises:
            RequestError: with the code and message of TensorFlow's error. All calls of a batch get the same error; only
                INVALID_ARGUMENT goes just to the calls that cause it. Batching itself raises INVALID_ARGUMENT,
                FAILED_PRECONDITION (an output has no batch dimension) and UNAVAILABLE.
        """
        rows = self._rows(feeds)
        arrays = list(feeds.values())
        padded = self._scheduler.parameters.pad_variable_length_inputs
        shape = tuple(array.ndim if padded else array.shape[1:] for array in arrays)
        # Calls that ask for the same outputs in another order share a queue.
        outputs = tuple(sorted(fetches, key=id))
        task = Task(arrays, rows, None if timeout_ms is None else time.monotonic() + timeout_ms / 1000)
        key = QueueKey(self, tuple(feeds), outputs)
        values = self._scheduler.run(key, shape, task, lambda tasks: self._run_batch(key, tasks))
        by_handle = dict(zip(outputs, values, strict=True))
        return [by_handle[handle] for handle in fetches]

    def close(self) -> None:
        """Frees the session. Batches that still run or wait end with CANCELLED."""
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
            received = ", ".join(f"{alias}: {size}" for alias, size in sizes.items())
            raise invalid_argument(f"Batching Run() input tensors must have equal 0th-dimension size ({received})")
        return next(iter(sizes.values()))

    def _run_batch(self, key: QueueKey, tasks: list[Task]) -> None:
        try:
            self._run_together(key, tasks)
        except RequestError as error:
            if len(tasks) == 1 or error.code != grpc.StatusCode.INVALID_ARGUMENT:
                raise
            # The graph checks the whole batch. Only the caller that sent the refused value should get the error.
            for task in tasks:
                try:
                    self._run_together(key, [task])
                except RequestError as task_error:
                    task.end(task_error)

    def _run_together(self, key: QueueKey, tasks: list[Task]) -> None:
        rows = sum(task.rows for task in tasks)
        total = _allowed_size(rows, self._scheduler.parameters.allowed_batch_sizes)
        shapes = padded_shapes([[array.shape[1:] for array in task.arrays] for task in tasks])
        feeds = {
            handle: merge([task.arrays[index] for task in tasks], (total, *shapes[index]))
            for index, handle in enumerate(key.inputs)
        }
        values = super().run(feeds, key.outputs, _timeout_ms(tasks))
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
    """Shapes that the inputs of a batch are padded to, without the first dimension.

    - Each size is at least the largest size in any call.
    - Two dimensions get the same size only if they have the same size in every call; otherwise one of them gets a
      column more. So a graph that requires inputs of equal widths accepts the batch only if it accepts each call alone.
    - A dimension that has the same size in all calls keeps it, since the graph may require that size.

    Args:
        shapes: for each call, the shapes of its inputs without the first dimension. The rank of an input is the same in
            all calls.

    Returns:
        The shape of each input.
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
    """Concatenates arrays and pads them with zeros or b"" to `shape`. Rows beyond theirs repeat the first row.

    Args:
        arrays: [rows, ...] each, all of the same rank and dtype.
        shape: the first size is at least the sum of the rows, each other size at least the largest of the arrays'.
    """
    first = arrays[0]
    if len(arrays) == 1 and first.shape == shape:
        return first
    fill: Any = b"" if first.dtype == object else 0
    merged = np.full(shape, fill, first.dtype)
    start = 0
    for array in arrays:
        position = (slice(start, start + len(array)), *(slice(size) for size in array.shape[1:]))
        merged[position] = array
        start += len(array)
    merged[start:] = merged[:1]  # a row that the graph accepts, unlike perhaps a row of zeros
    return merged


def _allowed_size(rows: int, allowed: Sequence[int]) -> int:
    """The number of rows to run: `rows`, rounded up to an allowed size. A batch without rows has no row to repeat."""
    return next((size for size in allowed if size >= rows), rows) if rows else 0


def _timeout_ms(tasks: Sequence[Task]) -> int | None:
    """Milliseconds until the last deadline of the tasks; None if a task has no deadline."""
    deadlines = [task.deadline for task in tasks if task.deadline is not None]
    if len(deadlines) < len(tasks):
        return None
    return max(1, int((max(deadlines) - time.monotonic()) * 1000))
