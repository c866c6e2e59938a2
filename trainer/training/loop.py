"""The training loop: epochs, validation, early stopping, best weights; it can be interrupted and taken up again."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.errors import TowersError
from trainer.training.averaging import WeightAverage
from trainer.training.batch import Batch, CountExamples
from trainer.training.checkpoints import Checkpoints, TrainingState
from trainer.training.distribution import DistributedStep, agreed, is_chief
from trainer.training.progress import OnEpoch, OnUpdate, print_epoch, steps
from trainer.training.tensorboard import EventLog

METRIC = "ndcg@10"


def fit(
    model: tf.keras.Model,
    batches: Callable[[int, int], Iterable[Batch]],
    *,
    examples: CountExamples,
    examples_per_epoch: int,
    steps_per_epoch: int,
    epochs: int,
    patience: int,
    average_epochs: float = 0.0,
    validate: Callable[[], dict[str, float]] | None,
    title: str,
    strategy: tf.distribute.Strategy | None = None,
    checkpoints: Checkpoints | None = None,
    logs: str | os.PathLike[str] | None = None,
    on_epoch: OnEpoch | None = None,
    on_update: OnUpdate | None = None,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Trains a compiled model and leaves it with its best weights.

    Args:
      model: has `compute_loss(batch, training)`, a mean over the batch's examples, and a `RandomStream` as `stream`.
        Whatever else changes in training is a variable that its object graph leads to, so that checkpoints hold it.
      batches: (epoch from 1, batches to leave out) -> the rest of that epoch's batches, always the same ones. Every
        batch has the same keys, types and ranks; where a strategy splits it, all its tensors have the same rows.
      examples: how many examples a batch has.
      examples_per_epoch: how many all batches of an epoch have together.
      steps_per_epoch: how many batches that is.
      epochs: the most.
      patience: epochs without a better validation NDCG@10 before training stops.
      average_epochs: the weights that are validated and kept are averages over about so many epochs; 0: as they are.
      validate: metrics, `ndcg@10` among them; without it the last weights are kept.
      title: what is trained, for the progress bar.
      strategy: the one that the model was made under; every replica takes a part of each batch.
      checkpoints: where the state is kept and, if there is one, taken up again; the caller removes it.
      logs: directory for TensorBoard.
      on_epoch: called with each epoch's record; by default a line is printed.
      on_update: given a line now and then within an epoch; by default there is a bar on a terminal.

    Returns:
      (the epochs' records, the best epoch's number and metrics).

    Raises:
      TowersError: the loss is no longer a number, or a checkpoint cannot be written or read.
    """
    report = on_epoch or print_epoch(title)
    strategy = strategy or tf.distribute.get_strategy()
    average = None
    with strategy.scope():
        model.optimizer.build(model.trainable_variables)
        if average_epochs:
            average = WeightAverage(model.trainable_variables, average_epochs * steps_per_epoch)
    step = DistributedStep(model, strategy, examples, examples_per_epoch / steps_per_epoch, average)
    state = TrainingState()
    if checkpoints and (found := checkpoints.restore(model, average)):
        state = found
        say = on_update or (lambda text: print(f"{title}: {text}", file=sys.stderr, flush=True))
        say(f"resuming epoch {state.epoch} at step {state.step}")
    _check_workers(strategy, state)
    if not is_chief(strategy):
        checkpoints = logs = None
    log = EventLog(logs) if logs is not None else None
    for record in state.history if log else []:
        log.write(record)  # type: ignore[union-attr]
    while state.epoch <= epochs:
        left = steps(
            batches(state.epoch, state.step),
            steps_per_epoch,
            f"{title} {state.epoch}/{epochs}",
            examples=examples,
            done=state.step,
            on_update=on_update,
        )
        _run_epoch(model, average, step, left, examples, state, checkpoints)
        loss = state.loss / max(state.step, 1)
        if not np.isfinite(loss):
            raise TowersError(f"{title}: the loss became {loss} in epoch {state.epoch}. Lower the learning rate.")
        speed = state.examples / max(state.seconds, 1e-9)
        record = {"epoch": state.epoch, "loss": loss, "seconds": state.seconds, "examples_per_second": speed}
        with average.in_place() if average else nullcontext():
            if validate is not None:
                started = time.monotonic()
                record |= agreed(strategy, validate())
                record["validation_seconds"] = time.monotonic() - started
            if validate is None:
                state.best = {"best_epoch": state.epoch}
            elif not state.best or record[METRIC] > state.best[METRIC]:
                state.best = {"best_epoch": state.epoch, **{key: value for key, value in record.items() if "@" in key}}
                state.best_weights = [variable.numpy() for variable in model.trainable_variables]
        state.history.append(record)
        if log:
            log.write(record)
        report(record)
        if validate is not None and state.epoch - state.best["best_epoch"] >= patience:
            break
        state.next_epoch()
        if checkpoints and checkpoints.due() and state.epoch <= epochs:
            checkpoints.save(model, average, state)
    if log:
        log.close()
    if average and validate is None:
        average.take_over()
    for variable, value in zip(model.trainable_variables, state.best_weights, strict=bool(state.best_weights)):
        variable.assign(value)
    return state.history, state.best


def _run_epoch(
    model: tf.keras.Model,
    average: WeightAverage | None,
    step: DistributedStep,
    batches: Iterable[Batch],
    examples: CountExamples,
    state: TrainingState,
    checkpoints: Checkpoints | None,
) -> None:
    """Trains on what is left of an epoch, and brings `state` up to date."""
    started = time.monotonic() - state.seconds
    loss = tf.constant(state.loss)
    for batch in batches:
        loss += step(batch)
        state.step += 1
        state.examples += examples(batch)
        if checkpoints and checkpoints.due():
            state.loss, state.seconds = float(loss), time.monotonic() - started
            checkpoints.save(model, average, state)
    state.loss, state.seconds = float(loss), time.monotonic() - started


def _check_workers(strategy: tf.distribute.Strategy, state: TrainingState) -> None:
    """Whether every worker begins where the first one does."""
    own = {"epoch": float(state.epoch), "step": float(state.step)}
    if agreed(strategy, own) != own:
        raise TowersError(
            "the workers found different checkpoints. Give all of them one directory that all can read, or remove it."
        )
