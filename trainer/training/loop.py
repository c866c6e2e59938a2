"""The training loop: epochs, validation, early stopping and best weights; a killed training can be resumed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.errors import TowersError
from trainer.training.averaging import WeightAverage
from trainer.training.batch import Batch, CountExamples
from trainer.training.checkpoints import Checkpoints, TrainingState
from trainer.training.distribution import DistributedStep, first_replica_values, is_chief
from trainer.training.progress import EpochProgress, OnEpoch, OnUpdate, print_epoch
from trainer.training.tensorboard import EventLog

METRIC = "ndcg@10"  # the validation metric that decides which epoch is the best

Validate = Callable[[], dict[str, float]]


@dataclass(frozen=True)
class TrainingData:
    """The batches that a model is trained on.

    Attributes:
      batches: (epoch, from 1; number of batches to skip) -> the remaining batches of that epoch, the same ones in every
        call. All batches have the same keys, types and ranks; where a strategy splits a batch, all its tensors have the
        same number of rows.
      count_examples: how many examples a batch has.
      examples_per_epoch: sum of `count_examples` over an epoch.
      steps_per_epoch: number of batches in an epoch.
    """

    batches: Callable[[int, int], Iterable[Batch]]
    count_examples: CountExamples
    examples_per_epoch: int
    steps_per_epoch: int


@dataclass(frozen=True)
class Schedule:
    """How long a model is trained.

    Attributes:
      epochs: the largest number of epochs.
      patience: training stops after this many epochs without a better validation NDCG@10.
      average_epochs: if positive, the model is validated and returned with its weights averaged over about this many
        epochs.
    """

    epochs: int
    patience: int
    average_epochs: float = 0.0


@dataclass(frozen=True)
class Monitoring:
    """Where the progress of a training is reported.

    Attributes:
      title: name of what is trained, for messages and the progress bar.
      on_epoch: called with each epoch's record; by default a line is printed.
      on_update: called with one line every few seconds; by default a bar is drawn on a terminal.
      logs: directory of TensorBoard's event files; None: no files.
    """

    title: str
    on_epoch: OnEpoch | None = None
    on_update: OnUpdate | None = None
    logs: str | os.PathLike[str] | None = None


def fit(
    model: tf.keras.Model,
    data: TrainingData,
    schedule: Schedule,
    monitoring: Monitoring,
    *,
    validate: Validate | None,
    strategy: tf.distribute.Strategy | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Trains a compiled model. Afterwards the model has the weights of its best epoch.

    Args:
      model: has `compute_loss(batch, training)`, a mean over the batch's examples, and a `RandomStream` as `stream`.
        Everything else that changes during training must be a variable tracked by the model: checkpoints save those.
      data: the batches.
      schedule: when training stops.
      monitoring: where progress is reported.
      validate: returns metrics, `ndcg@10` among them. None: the last epoch counts as the best one.
      strategy: the one that the model was created under; every replica takes a part of each batch. By default the
        current strategy.
      checkpoints: saves the state. If there is a saved state, training resumes from it. The caller removes the saved
        state after training. None: no state is saved.

    Returns:
      (the records of all epochs; `best_epoch`, its number, and the validation metrics of that epoch).

    Raises:
      TowersError: the loss is not finite, or a checkpoint cannot be written or read.
    """
    training = _Training(
        model, data, schedule, monitoring, validate, strategy or tf.distribute.get_strategy(), checkpoints
    )
    training.resume()
    training.run()
    return training.state.history, training.state.best


class _Training:
    """One training of `fit`, whose arguments it takes.

    Attributes:
      state: the current epoch and step, the records of earlier epochs, and the best of them.
    """

    def __init__(
        self,
        model: tf.keras.Model,
        data: TrainingData,
        schedule: Schedule,
        monitoring: Monitoring,
        validate: Validate | None,
        strategy: tf.distribute.Strategy,
        checkpoints: Checkpoints | None,
    ) -> None:
        self._model, self._data, self._schedule, self._monitoring = model, data, schedule, monitoring
        self._validate, self._strategy, self._checkpoints = validate, strategy, checkpoints
        self._on_epoch = monitoring.on_epoch or print_epoch(monitoring.title)
        self._average: WeightAverage | None = None
        with strategy.scope():
            model.optimizer.build(model.trainable_variables)
            if schedule.average_epochs:
                steps = schedule.average_epochs * data.steps_per_epoch
                self._average = WeightAverage(model.trainable_variables, steps)
        mean_examples = data.examples_per_epoch / data.steps_per_epoch
        self._step = DistributedStep(model, strategy, data.count_examples, mean_examples, self._average)
        self._event_log: EventLog | None = None
        self.state = TrainingState()

    def resume(self) -> None:
        """Restores the state from the checkpoint, if there is one, and opens the event log."""
        saved = self._checkpoints.restore(self._model, self._average) if self._checkpoints else None
        if saved is not None:
            self.state = saved
            self._print_update(f"resuming epoch {saved.epoch} at step {saved.step}")
        self._check_workers()
        if not is_chief(self._strategy):
            self._checkpoints = None
        elif self._monitoring.logs is not None:
            self._event_log = EventLog(self._monitoring.logs)
            for record in self.state.history:
                self._event_log.write(record)

    def run(self) -> None:
        """Trains until the last epoch or until patience ends. Then assigns the best weights to the model."""
        while self.state.epoch <= self._schedule.epochs:
            self._train_epoch()
            self._finish_epoch()
            if self._out_of_patience():
                break
            self.state.next_epoch()
            if self._checkpoints and self._checkpoints.due() and self.state.epoch <= self._schedule.epochs:
                self._checkpoints.save(self._model, self._average, self.state)
        if self._event_log:
            self._event_log.close()
        if self._average and self._validate is None:
            self._average.apply()
        best = self.state.best_weights
        for variable, value in zip(self._model.trainable_variables, best, strict=bool(best)):
            variable.assign(value)

    def _train_epoch(self) -> None:
        """Trains on the remaining batches of the epoch and updates `state`."""
        state, data = self.state, self._data
        title = f"{self._monitoring.title} {state.epoch}/{self._schedule.epochs}"
        progress = EpochProgress(
            title, data.steps_per_epoch, state.step, data.count_examples, self._monitoring.on_update
        )
        started = time.monotonic() - state.seconds
        loss = tf.constant(state.loss)
        for batch in progress.track(data.batches(state.epoch, state.step)):
            loss += self._step(batch)
            state.step += 1
            state.examples += data.count_examples(batch)
            if self._checkpoints and self._checkpoints.due():
                state.loss, state.seconds = float(loss), time.monotonic() - started
                self._checkpoints.save(self._model, self._average, state)
        state.loss, state.seconds = float(loss), time.monotonic() - started

    def _finish_epoch(self) -> None:
        """Validates the model and reports the epoch's record."""
        state = self.state
        record = self._training_record()
        if self._validate is None:
            state.best = {"best_epoch": state.epoch}
        elif self._average is None:
            self._validate_and_keep_best(self._validate, record)
        else:
            with self._average.applied():
                self._validate_and_keep_best(self._validate, record)
        state.history.append(record)
        if self._event_log:
            self._event_log.write(record)
        self._on_epoch(record)

    def _training_record(self) -> dict[str, Any]:
        state = self.state
        loss = state.loss / max(state.step, 1)
        if not np.isfinite(loss):
            title = self._monitoring.title
            raise TowersError(f"{title}: the loss became {loss} in epoch {state.epoch}. Lower the learning rate.")
        speed = state.examples / max(state.seconds, 1e-9)
        return {"epoch": state.epoch, "loss": loss, "seconds": state.seconds, "examples_per_second": speed}

    def _validate_and_keep_best(self, validate: Validate, record: dict[str, Any]) -> None:
        """Adds the validation metrics to the record. Keeps the weights in `state` if they are the best so far."""
        state = self.state
        started = time.monotonic()
        record |= first_replica_values(self._strategy, validate())
        record["validation_seconds"] = time.monotonic() - started
        if not state.best or record[METRIC] > state.best[METRIC]:
            metrics = {name: value for name, value in record.items() if "@" in name}
            state.best = {"best_epoch": state.epoch, **metrics}
            state.best_weights = [variable.numpy() for variable in self._model.trainable_variables]

    def _out_of_patience(self) -> bool:
        if self._validate is None:
            return False
        return self.state.epoch - self.state.best["best_epoch"] >= self._schedule.patience

    def _print_update(self, text: str) -> None:
        if self._monitoring.on_update:
            self._monitoring.on_update(text)
        else:
            print(f"{self._monitoring.title}: {text}", file=sys.stderr, flush=True)

    def _check_workers(self) -> None:
        """Raises TowersError if this worker has resumed from another state than the first worker."""
        position = {"epoch": float(self.state.epoch), "step": float(self.state.step)}
        if first_replica_values(self._strategy, position) != position:
            raise TowersError(
                "the workers have different checkpoints. Give them one directory that all can read, or remove it."
            )
