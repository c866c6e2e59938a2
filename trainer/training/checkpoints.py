"""Saves the state of an unfinished training, so that a killed training resumes to the same result."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.errors import TowersError, first_line
from trainer.files import atomic_remote_file
from trainer.training.averaging import WeightAverage

_STATE = "state.json"


@dataclass
class TrainingState:
    """The progress of a training; the values of its variables are saved separately."""

    epoch: int = 1
    step: int = 0  # finished batches of this epoch
    loss: float = 0.0  # sum over these batches, exactly as the loop computed it
    examples: int = 0  # in these batches
    seconds: float = 0.0  # spent on these batches
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    best_weights: list[np.ndarray] = field(default_factory=list)  # of the best epoch, as in `trainable_variables`

    def next_epoch(self) -> None:
        self.epoch += 1
        self.step, self.loss, self.examples, self.seconds = 0, 0.0, 0, 0.0


class Checkpoints:
    """Saves the newest state of one training in a directory, which may be on any file system that TensorFlow knows.

    Variables and best weights are written to files with new names. Then `state.json`, which refers to these files, is
    replaced atomically. The directory therefore holds a complete state whenever the process is killed.

    Args:
      directory: used by this training only.
      minutes: between two saves.
      key: a digest of the training's configuration and data; see `key_of`. A state with another key is rejected.
    """

    def __init__(self, directory: str | os.PathLike[str], minutes: float, key: str) -> None:
        self._directory, self._seconds, self._key = os.fspath(directory), minutes * 60, key
        self._last_save = time.monotonic()
        self._files: set[str] = set()  # names of the files that the state on disk refers to

    def due(self) -> bool:
        """Whether `minutes` have passed since the last save."""
        return time.monotonic() - self._last_save >= self._seconds

    def save(self, model: tf.keras.Model, average: WeightAverage | None, state: TrainingState) -> None:
        """Writes the variables of the model and of its optimizer, the average of the weights, and `state`.

        Raises:
          TowersError: the directory cannot be written.
        """
        variables = f"variables-{time.time_ns()}"  # a new name: the state on disk refers to the old files
        best = f"best-{state.best['best_epoch']}.npz" if state.best_weights else None
        record = {**asdict(state), "key": self._key, "variables": variables, "best_weights": best}
        try:
            tf.io.gfile.makedirs(self._directory)
            _variables(model, average).write(self._path(variables))
            if best and best not in self._files:
                buffer = io.BytesIO()
                np.savez(buffer, *state.best_weights)
                self._replace(best, buffer.getbuffer())
            self._replace(_STATE, json.dumps(record).encode())
            self._remove_unused(record)
        except (OSError, tf.errors.OpError) as error:
            raise TowersError(
                f"{self._directory}: the checkpoint cannot be written ({first_line(error)}). Free disk space or give "
                "another directory; retrieval.checkpoint_minutes=0 disables checkpoints."
            ) from error
        self._last_save = time.monotonic()

    def restore(self, model: tf.keras.Model, average: WeightAverage | None) -> TrainingState | None:
        """Assigns the saved values to the variables of a model whose optimizer is built.

        Returns:
          the saved state; None if there is none.

        Raises:
          TowersError: the saved state belongs to another training, or cannot be read.
        """
        remedy = "Remove it to train from the start, or give another directory."
        try:
            if not tf.io.gfile.exists(self._path(_STATE)):
                return None
            with tf.io.gfile.GFile(self._path(_STATE), "rb") as file:
                record = json.loads(file.read())
            key, variables, best = record.pop("key"), record.pop("variables"), record.pop("best_weights")
            if key != self._key:
                raise TowersError(
                    f"{self._directory}: holds the checkpoint of a training with another configuration or other data. "
                    f"{remedy}"
                )
            state = TrainingState(**record)
            if best:
                with tf.io.gfile.GFile(self._path(best), "rb") as file, np.load(io.BytesIO(file.read())) as arrays:
                    state.best_weights = [arrays[name] for name in arrays.files]
            _variables(model, average).read(self._path(variables)).assert_consumed()
            self._remove_unused({"variables": variables, "best_weights": best})
        except (OSError, ValueError, KeyError, TypeError, AssertionError, tf.errors.OpError) as error:
            raise TowersError(
                f"{self._directory}: the checkpoint cannot be read ({first_line(error)}). {remedy}"
            ) from error
        return state

    def remove(self) -> None:
        """Removes the directory; to be called when the result of the training has been written."""
        if tf.io.gfile.exists(self._directory):
            tf.io.gfile.rmtree(self._directory)

    def _path(self, name: str) -> str:
        return f"{self._directory.rstrip('/')}/{name}"

    def _replace(self, name: str, content: bytes | memoryview) -> None:
        with atomic_remote_file(self._path(name)) as temporary, tf.io.gfile.GFile(temporary, "wb") as file:
            file.write(bytes(content))

    def _remove_unused(self, record: dict[str, Any]) -> None:
        """Removes files that the state on disk does not refer to: older and incomplete ones."""
        self._files = set()
        for name in tf.io.gfile.listdir(self._directory):
            if name == _STATE:
                continue
            if name == record["best_weights"] or name.startswith(f"{record['variables']}."):
                self._files.add(name)
            else:
                tf.io.gfile.remove(self._path(name))


def _variables(model: tf.keras.Model, average: WeightAverage | None) -> tf.train.Checkpoint:
    averages = {"average": average} if average else {}
    return tf.train.Checkpoint(model=model, optimizer=model.optimizer, **averages)


def key_of(*parts: Any) -> str:
    """A digest of strings, lists and the contents of arrays; their order matters."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype != object:
            content = f"{part.dtype} {part.shape} ".encode() + np.ascontiguousarray(part).tobytes()
        else:
            content = json.dumps(part.tolist() if isinstance(part, np.ndarray) else part).encode()
        digest.update(f"{len(content)} ".encode() + content)
    return digest.hexdigest()
