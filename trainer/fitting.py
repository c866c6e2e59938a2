"""The training loop: epochs, validation, early stopping, best weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.batches import Batch
from trainer.errors import TowersError
from trainer.graphs import OneGraph
from trainer.progress import OnEpoch, print_epoch, steps

METRIC = "ndcg@10"


def adam(learning_rate: float, weight_decay: float = 0.0) -> tf.keras.optimizers.Optimizer:
    """Adam, with decoupled weight decay of all but biases and normalisation (Loshchilov & Hutter, 2019)."""
    if not weight_decay:
        return tf.keras.optimizers.Adam(learning_rate)
    optimizer = tf.keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "norm"])
    return optimizer


def fit(
    model: tf.keras.Model,
    batches: Callable[[int], Iterable[Batch]],
    *,
    steps_per_epoch: int,
    epochs: int,
    patience: int,
    validate: Callable[[], dict[str, float]] | None,
    title: str,
    on_epoch: OnEpoch | None = None,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Trains a compiled model and leaves it with its best weights.

    Args:
      model: `train_step(batch)` should return a dictionary with `loss`.
      batches: epoch (from 1) -> that epoch's batches; every batch has the same keys, types and ranks.
      steps_per_epoch: about how many batches that is, for the progress bar.
      epochs: the most.
      patience: epochs without a better validation NDCG@10 before training stops.
      validate: metrics, `ndcg@10` among them; without it the last weights are kept.
      title: what is trained, for the progress bar.
      on_epoch: called with each epoch's record; by default a line is printed.

    Returns:
      (the epochs' records, the best epoch's number and metrics).

    Raises:
      TowersError: the loss is no longer a number.
    """
    report = on_epoch or print_epoch(title)
    step = OneGraph(lambda batch: model.train_step(batch)["loss"])
    history: list[dict[str, Any]] = []
    best: dict[str, Any] = {}
    weights: list[np.ndarray] = []
    for epoch in range(1, epochs + 1):
        started = time.monotonic()
        total, count = tf.constant(0.0), 0
        for batch in steps(batches(epoch), steps_per_epoch, f"{title} {epoch}/{epochs}"):
            total += step(batch)
            count += 1
        loss = float(total) / max(count, 1)
        if not np.isfinite(loss):
            raise TowersError(f"{title}: the loss became {loss} in epoch {epoch}. Lower the learning rate.")
        record: dict[str, Any] = {"epoch": epoch, "loss": loss, "seconds": time.monotonic() - started}
        if validate is not None:
            record |= validate()
            record["validation_seconds"] = time.monotonic() - started - record["seconds"]
        history.append(record)
        report(record)
        if validate is None:
            best = {"best_epoch": epoch}
        elif not best or record[METRIC] > best[METRIC]:
            best = {"best_epoch": epoch, **{key: value for key, value in record.items() if "@" in key}}
            weights = [variable.numpy() for variable in model.trainable_variables]
        elif epoch - best["best_epoch"] >= patience:
            break
    for variable, value in zip(model.trainable_variables, weights, strict=bool(weights)):
        variable.assign(value)
    return history, best
