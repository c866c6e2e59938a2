"""The TensorBoard log of a training."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf


class EventLog:
    """Writes each epoch's loss, validation metrics and speed as scalars, with the epoch as TensorBoard's step.

    Args:
      directory: of a TensorBoard run; an event file is added to it.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._writer = tf.summary.create_file_writer(os.fspath(directory))

    def write(self, record: dict[str, Any]) -> None:
        """Writes one epoch's record of `trainer.training.loop.fit`."""
        with self._writer.as_default(step=record["epoch"]):
            for name, value in record.items():
                if name != "epoch":
                    tf.summary.scalar(f"validation/{name}" if "@" in name else f"train/{name}", value)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
