"""Trains the two-tower retrieval model on whole sequences."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.config import Config, RetrievalConfig
from trainer.data.batches import sequences_per_batch, training_batches, training_windows
from trainer.data.dataset import Dataset
from trainer.data.tables import NO_TEXT, UNKNOWN_ITEM, ItemTable, SequenceTable, TextVectors
from trainer.errors import TowersError, UsageError
from trainer.files import atomic_directory
from trainer.retrieval import persistence
from trainer.retrieval.model import RetrievalModel
from trainer.retrieval.validation import Validation
from trainer.text.fine_tuning.training import make_fine_tuning
from trainer.towers.initial_ids import initial_directions
from trainer.towers.inputs import item_inputs, user_inputs
from trainer.training import distribution
from trainer.training.batch import Batch
from trainer.training.checkpoints import Checkpoints, key_of
from trainer.training.distribution import is_chief
from trainer.training.loop import Monitoring, Schedule, TrainingData, fit
from trainer.training.optimizers import Adam
from trainer.training.precision import product_type, with_loss_scaling
from trainer.training.progress import OnEpoch, OnUpdate


def train(
    config: Config,
    dataset: Dataset,
    directory: str | Path,
    on_epoch: OnEpoch | None = None,
    *,
    checkpoints: str | os.PathLike[str] | None = None,
    logs: str | os.PathLike[str] | None = None,
    on_update: OnUpdate | None = None,
) -> dict[str, Any]:
    """Trains a retrieval model and writes it.

    Training stops after `config.retrieval.epochs` epochs, or when validation NDCG@10 over the whole catalogue has not
    improved for as long as `config.retrieval.patience` and `patience_steps` allow; the model has the weights of the
    best epoch. Without validation targets all epochs are run, and the model has the weights of the last one.

    With `config.retrieval.distribution: multi_worker` every worker calls this function with the same arguments, before
    anything else that uses TensorFlow. All of them return the same result; the first one writes the model.

    Args:
      config: the configuration.
      dataset: the catalogue, the splits `train` and (optional) `validation`, and the vectors of all texts.
      directory: where the model is written; should be missing or empty.
      on_epoch: called with each epoch's record; by default a line is printed.
      checkpoints: directory, used by this training only, on any file system that TensorFlow knows. The state is saved
        there every `config.retrieval.checkpoint_minutes`, so that a killed training resumes and reaches the same
        result. The directory is removed at the end. None: no state is saved.
      logs: directory for TensorBoard's event files.
      on_update: called with one line every few seconds within an epoch; by default a bar is drawn on a terminal.

    Returns:
      `{"epochs": [records], "best_epoch": ..., "ndcg@10": ..., "hit_rate@10": ..., "seconds": ..., "parameters": ...}`;
      the two metrics are those of the best epoch, and are missing without validation targets.

    Raises:
      TowersError: the train split holds no events, `directory` cannot be written, or `checkpoints` holds the state of
        another training.
      UsageError: settings of the configuration exclude each other.
    """
    started = time.monotonic()
    settings = config.retrieval
    strategy = distribution.strategy_for(settings.distribution)
    _check_distribution(config, strategy)
    products = product_type(settings.precision)
    with strategy.scope():
        model = _make_model(config, dataset, products)
    data = _training_data(model, dataset.train)
    state = None
    if checkpoints is not None and settings.checkpoint_minutes:
        state = Checkpoints(checkpoints, settings.checkpoint_minutes, _checkpoint_key(config, dataset, products))
    with ExitStack() as stack:
        temporary = stack.enter_context(atomic_directory(directory)) if is_chief(strategy) else None
        with strategy.scope():
            model.compile(optimizer=with_loss_scaling(_optimizer(model), products))
        history, best = fit(
            model,
            data,
            _schedule(settings, data.steps_per_epoch),
            Monitoring("retrieval", on_epoch, on_update, logs),
            validate=_validation(model, dataset),
            strategy=strategy,
            checkpoints=state,
        )
        if temporary is not None:
            persistence.save(model, temporary, dataset.items, history)
    if state and is_chief(strategy):
        state.remove()
    return {
        "epochs": history,
        **best,
        "seconds": time.monotonic() - started,
        "parameters": int(sum(np.prod(variable.shape) for variable in model.trainable_variables)),
    }


def _check_distribution(config: Config, strategy: tf.distribute.Strategy) -> None:
    if strategy.num_replicas_in_sync > 1 and config.text.trainable_layers:
        raise UsageError(
            "`retrieval.distribution` should be none where the text encoder is trained (`text.trainable_layers`). "
            f"Received: {config.retrieval.distribution!r}"
        )


def _make_model(config: Config, dataset: Dataset, products: tf.DType) -> RetrievalModel:
    """An untrained model with the catalogue attached."""
    items, train, texts = dataset.items, dataset.train, dataset.texts
    has_time = config.data.interactions.time_format != "order"
    model = RetrievalModel(
        config, item_inputs(config.model, items, texts), user_inputs(config.model, train, texts, has_time), products
    )
    fine_tuning = make_fine_tuning(config, items, texts, model.reads_texts)
    if fine_tuning is not None:
        model.attach_fine_tuning(items, fine_tuning)
    else:
        if texts is not None and model.reads_texts:
            model.whiten(_training_texts(items, train, texts))
        model.attach(items, texts)
    model.item_tower.initialise_ids(initial_directions(config, len(items), train, texts))
    return model


def _training_texts(items: ItemTable, train: SequenceTable, texts: TextVectors) -> np.ndarray:
    """Vectors of the distinct texts of the catalogue and the train split."""
    columns = [column for column in (items.text_row, train.text_row, train.query_row) if column is not None]
    rows = np.unique(np.concatenate(columns))
    return texts.vectors[rows[rows != NO_TEXT]]


def _training_data(model: RetrievalModel, train: SequenceTable) -> TrainingData:
    """The batches of the train split. An example is one event to predict.

    Raises:
      TowersError: the split holds no events.
    """
    config, settings, fine_tuning = model.config, model.config.retrieval, model.fine_tuning
    windows = training_windows(train, config.model.max_history, settings.window_overlap)
    if len(windows) == 0:
        raise TowersError("the train split holds no events: nothing to learn from. Check the split's dates.")
    batch_size = sequences_per_batch(windows, settings.batch_size, settings.batch_events)

    def batches(epoch: int, first: int) -> Iterable[Batch]:
        of_epoch = training_batches(train, model.columns, windows, batch_size, config.seed, epoch, first)
        return of_epoch if fine_tuning is None else fine_tuning.add_texts(of_epoch, epoch)

    return TrainingData(
        batches,
        count_examples=lambda batch: int(np.count_nonzero(batch["target"] != UNKNOWN_ITEM)),
        examples_per_epoch=int(np.count_nonzero(train.item != UNKNOWN_ITEM)),
        steps_per_epoch=-(-len(windows) // batch_size),
    )


def _optimizer(model: RetrievalModel) -> tf.keras.optimizers.Optimizer:
    settings = model.config.retrieval
    make = Adam if model.fine_tuning is None else model.fine_tuning.adam
    return make(settings.learning_rate, settings.weight_decay)


def _schedule(settings: RetrievalConfig, steps_per_epoch: int) -> Schedule:
    """The configured schedule. `patience_steps` is converted to epochs, at least two; the smaller patience applies."""
    patience_epochs = max(2, -(-settings.patience_steps // steps_per_epoch))
    return Schedule(settings.epochs, min(settings.patience, patience_epochs), settings.average_epochs)


def _validation(model: RetrievalModel, dataset: Dataset) -> Callable[[], dict[str, float]] | None:
    """The function that computes the validation metrics; None without validation targets."""
    split = dataset.splits.get("validation")
    if split is None or not int(split.target_count.sum()):
        return None
    validation = Validation(model.config, model, dataset.items, split)
    return validation if model.fine_tuning is None else model.fine_tuning.encode_texts_before(validation)


def _checkpoint_key(config: Config, dataset: Dataset, products: tf.DType) -> str:
    """A digest of the configuration, precision, encoder, items, and users' items; see `Checkpoints`."""
    items, train, texts = dataset.items, dataset.train, dataset.texts
    validation = dataset.splits.get("validation")
    parts: list[Any] = [config.to_json(), items.item_id, items.train_count, items.text_row, train.offsets, train.item]
    parts += [validation.offsets, validation.item, validation.target_count] if validation is not None else []
    parts += [list(texts.vectors.shape), texts.encoder] if texts is not None else []
    return f"{products.name} {key_of(*parts)}"
