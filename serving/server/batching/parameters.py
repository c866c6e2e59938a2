"""The parameters of batching, read from `--batching_parameters_file`."""

import os
from dataclasses import dataclass
from pathlib import Path

from serving.server.text_format_file import read_message
from serving.wire.errors import ServerUsageError
from serving.wire.protos import flag_files_pb2


@dataclass(frozen=True)
class BatchingParameters:
    """The defaults are TensorFlow Serving's.

    Attributes:
        max_batch_size: largest number of rows of a batch, and thus of a call.
        batch_timeout_micros: the longest time, in microseconds, that a call waits for others. A longer time raises
            throughput and latency.
        max_enqueued_batches: batches that may wait for a thread, for each signature.
        num_batch_threads: batches that run at the same time, of all models together.
        allowed_batch_sizes: batches are padded to the next of these sizes. They ascend, and the last is
            `max_batch_size`. Empty: any size is allowed.
        pad_variable_length_inputs: pad inputs, so that calls share a batch even if their inputs differ in dimensions
            after the first.
        thread_pool_name: prefix of the threads' names.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    thread_pool_name: str = "model_server_batch_threads"

    def __post_init__(self) -> None:
        for name, minimum in (
            ("max_batch_size", 1),
            ("batch_timeout_micros", 0),
            ("max_enqueued_batches", 1),
            ("num_batch_threads", 1),
        ):
            value = getattr(self, name)
            if value < minimum:
                raise ServerUsageError(f"`{name}` should be a whole number from {minimum}. Received: {value}")
        sizes = self.allowed_batch_sizes
        if sizes and (sizes[0] < 1 or list(sizes) != sorted(set(sizes))):
            raise ServerUsageError(
                f"`allowed_batch_sizes` should be positive and monotonically increasing. Received: {list(sizes)}"
            )
        if sizes and sizes[-1] != self.max_batch_size:
            raise ServerUsageError(
                "Last entry in `allowed_batch_sizes` must match `max_batch_size`; last entry was"
                f" {sizes[-1]}; expected {self.max_batch_size}"
            )


def read_batching_parameters(path: Path | None) -> BatchingParameters:
    """The parameters in a file of text-format `BatchingParameters`; the defaults without one.

    Raises:
        ServerError: the file cannot be read, or a value is out of range.
    """
    if path is None:
        return BatchingParameters()
    message = read_message(path, flag_files_pb2.BatchingParameters)
    values = {
        name: getattr(message, name).value
        for name in (
            *("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"),
            "thread_pool_name",
        )
        if message.HasField(name)
    }
    try:
        return BatchingParameters(
            allowed_batch_sizes=tuple(message.allowed_batch_sizes),
            pad_variable_length_inputs=message.pad_variable_length_inputs,
            **values,
        )
    except ServerUsageError as error:
        raise ServerUsageError(f"{path}: {error}") from None
