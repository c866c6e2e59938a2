"""Trainings in processes of their own: to be killed, or with devices and workers that this process does not have.

Run as `python -m tests.trainer.trainings KIND DIRECTORY`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.trainer import tables
from trainer.config import Config
from trainer.data.batches import training_batches
from trainer.retrieval import training as retrieval_training
from trainer.training import distribution
from trainer.training.checkpoints import Checkpoints

ROOT = Path(__file__).parents[2]
KILLED_AT = (3, 5)  # epoch, batch
SAVED_EVERY = 4  # steps


def distributed_config(distribution: str) -> Config:
    """Of trainings whose result should not depend on the distribution: in float32, to compare weights closely."""
    return config(epochs=2, distribution=distribution, precision="float32")


def config(**settings: Any) -> Config:
    """The configuration of trainings on `tables.markov()`."""
    dropout = settings.pop("dropout", 0.0)
    return tables.make_config(
        "order",
        model={"dim": 16, "layers": 1, "max_history": 8, "dropout": dropout},
        retrieval={"learning_rate": 0.01, "epochs": 4, "batch_size": 33, "checkpoint_minutes": 1.0} | settings,
    )


def start(kind: str, directory: Path, **environment: str) -> subprocess.Popen[str]:
    """Starts a training; `finish` waits for it."""
    return subprocess.Popen(
        [sys.executable, "-m", __name__, kind, str(directory)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Its standard error stream."""
    try:
        _, text = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == code, text[-4000:]
    return text


def train(settings: Config, directory: Path, **options: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
    """(`retrieval.train`'s result, the weights at the end); the model is written to DIRECTORY/model."""
    weights: list[np.ndarray] = []
    fit = retrieval_training.fit

    def fit_and_copy_weights(model: tf.keras.Model, *arguments: Any, **named: Any) -> Any:
        result = fit(model, *arguments, **named)
        weights.extend(variable.numpy() for variable in model.trainable_variables)
        return result

    retrieval_training.fit = fit_and_copy_weights  # type: ignore[assignment]
    try:
        items, events, validation, _ = tables.markov()
        dataset = tables.dataset(items, events, validation)
        result = retrieval_training.train(settings, dataset, directory / "model", **options)
    finally:
        retrieval_training.fit = fit
    return result, weights


def _train_until_killed(directory: Path) -> None:
    def batches(*arguments: Any) -> Iterator[dict]:
        epoch = arguments[5]
        for number, batch in enumerate(training_batches(*arguments)):
            if (epoch, number) == KILLED_AT:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    calls = iter(range(1_000_000))
    Checkpoints.due = lambda _: next(calls) % SAVED_EVERY == SAVED_EVERY - 1  # type: ignore[method-assign]
    retrieval_training.training_batches = batches  # type: ignore[assignment]
    train(config(dropout=0.2), directory, checkpoints=directory / "checkpoints")


def _train_and_write_result(settings: Config, directory: Path) -> None:
    """Writes the losses and weights to DIRECTORY/result."""
    result, weights = train(settings, directory, logs=directory / "logs", checkpoints=directory / "checkpoints")
    (directory / "result").mkdir()
    (directory / "result" / "epochs.json").write_text(json.dumps(result["epochs"]))
    np.savez(directory / "result" / "weights.npz", *weights)


def read_result(directory: Path) -> tuple[list[dict], list[np.ndarray]]:
    """(the epochs' records, the weights) of a training with devices or workers."""
    with np.load(directory / "result" / "weights.npz") as arrays:
        return json.loads((directory / "result" / "epochs.json").read_text()), [arrays[name] for name in arrays.files]


def main(kind: str, directory: Path) -> None:
    if kind == "killed":
        _train_until_killed(directory)
    elif kind == "mirrored":
        (processor,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
        assert distribution.strategy_for("mirrored").num_replicas_in_sync == 2
        _train_and_write_result(distributed_config("mirrored"), directory)
    elif kind == "worker":
        _train_and_write_result(distributed_config("multi_worker"), directory)
    else:
        raise ValueError(kind)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
