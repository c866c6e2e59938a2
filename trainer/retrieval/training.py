"""Trains the two-tower retrieval model on whole sequences."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import Config
from trainer.data.batches import sequences_per_batch, training_batches, training_windows
from trainer.data.tables import NO_TEXT, UNKNOWN_ITEM, ItemTable, SequenceTable, TextVectors
from trainer.errors import TowersError, UsageError
from trainer.files import atomic_directory
from trainer.retrieval.model import RetrievalModel
from trainer.retrieval.validation import Validation
from trainer.text.fine_tuning.training import make_fine_tuning
from trainer.towers.initial_ids import initial_directions
from trainer.towers.inputs import item_inputs, user_inputs
from trainer.training import distribution
from trainer.training.checkpoints import Checkpoints, key_of
from trainer.training.distribution import is_chief
from trainer.training.loop import Monitoring, Schedule, TrainingData, fit
from trainer.training.optimizers import Adam
from trainer.training.precision import products_in, with_loss_scaling
from trainer.training.progress import OnEpoch, OnUpdate


def train(
    config: Config,
    items: ItemTable,
    train: SequenceTable,
    validation: SequenceTable | None,
    texts: TextVectors | None,
    directory: str | Path,
    on_epoch: OnEpoch | None = None,
    *,
    checkpoints: str | os.PathLike[str] | None = None,
    logs: str | os.PathLike[str] | None = None,
    on_update: OnUpdate | None = None,
) -> dict[str, Any]:
    """Trains a retrieval model and writes it.

    Training stops when validation NDCG@10 over the full catalogue has not risen for so many epochs as
    `config.retrieval.patience` and `patience_steps` say, and the best epoch's weights are kept. Without validation
    users it runs for `config.retrieval.epochs`.

    With `config.retrieval.distribution: multi_worker` every worker calls this with the same arguments, before anything
    else that uses TensorFlow; all return the same result, and the first of them writes the model.

    Args:
      config: the configuration.
      items: the catalogue.
      train: the train split.
      validation: the validation split, if there is one.
      texts: vectors of all texts, if there are any.
      directory: where to write; should not exist, or be empty.
      on_epoch: called with each epoch's record; by default a line is printed.
      checkpoints: directory where the state is kept every `config.retrieval.checkpoint_minutes`, of this training alone
        and on any file system that TensorFlow knows. A training that was killed goes on from there, to the result that
        it would have had. It is removed at the end. None: nothing is kept.
      logs: directory for TensorBoard's event files.
      on_update: given a line now and then within an epoch; by default there is a bar on a terminal.

    Returns:
      `{"epochs": [records], "best_epoch": ..., "ndcg@10": ..., "hit_rate@10": ..., "seconds": ..., "parameters": ...}`.

    Raises:
      TowersError: there is nothing to learn from, `directory` can not be written, or `checkpoints` holds another
        training's.
      UsageError: the configuration asks for what does not go together.
    """
    started = time.monotonic()
    clock = config.data.interactions.time_format != "order"
    settings = config.retrieval
    strategy = distribution.strategy_for(settings.distribution)
    products = products_in(settings.precision)
    if strategy.num_replicas_in_sync > 1 and config.text.trainable_layers:
        raise UsageError(
            "`retrieval.distribution` should be none where the text encoder is trained (`text.trainable_layers`). "
            f"Received: {settings.distribution!r}"
        )
    with strategy.scope():
        model = RetrievalModel(
            config, item_inputs(config.model, items, texts), user_inputs(config.model, train, texts, clock), products
        )
        tuning = make_fine_tuning(config, items, texts, model.reads_texts)
        if tuning is not None:
            model.attach_fine_tuning(items, tuning)
        else:
            if texts is not None and model.reads_texts:
                model.whiten(_texts_in_training(items, train, texts))
            model.attach(items, texts)
        model.item_tower.initialise_ids(initial_directions(config, len(items), train, texts))
    windows = training_windows(train, config.model.max_history, settings.window_overlap)
    if len(windows) == 0:
        raise TowersError("the train split holds no events: nothing to learn from. Check the split's dates.")
    batch_size = sequences_per_batch(windows, settings.batch_size, settings.batch_events)
    steps = -(-len(windows) // batch_size)
    kept = None
    if checkpoints is not None and settings.checkpoint_minutes:
        key = f"{products.name} {_key(config, items, train, validation, texts)}"
        kept = Checkpoints(checkpoints, settings.checkpoint_minutes, key)
    with ExitStack() as stack:
        aside = stack.enter_context(atomic_directory(directory)) if is_chief(strategy) else None
        make_optimizer = Adam if tuning is None else tuning.adam
        with strategy.scope():
            optimizer = make_optimizer(settings.learning_rate, settings.weight_decay)
            model.compile(optimizer=with_loss_scaling(optimizer, products))

        def batches(epoch: int, first: int) -> Any:
            made = training_batches(train, model.columns, windows, batch_size, config.seed, epoch, first)
            return made if tuning is None else tuning.add_texts(made, epoch)

        validate: Callable[[], dict[str, float]] | None = None
        if validation is not None and int(validation.target_count.sum()):
            measured = Validation(config, model, items, validation)
            validate = measured if tuning is None else tuning.encode_texts_before(measured)
        history, best = fit(
            model,
            TrainingData(
                batches,
                count_examples=lambda batch: int(np.count_nonzero(batch["target"] != UNKNOWN_ITEM)),
                examples_per_epoch=int(np.count_nonzero(train.item != UNKNOWN_ITEM)),
                steps_per_epoch=steps,
            ),
            Schedule(
                settings.epochs,
                patience=min(settings.patience, max(2, -(-settings.patience_steps // steps))),
                average_epochs=settings.average_epochs,
            ),
            Monitoring("retrieval", on_epoch, on_update, logs),
            validate=validate,
            strategy=strategy,
            checkpoints=kept,
        )
        if aside is not None:
            model.save(aside, items, history)
    if kept and is_chief(strategy):
        kept.remove()
    return {
        "epochs": history,
        **best,
        "seconds": time.monotonic() - started,
        "parameters": int(sum(np.prod(variable.shape) for variable in model.trainable_variables)),
    }


def _texts_in_training(items: ItemTable, train: SequenceTable, texts: TextVectors) -> np.ndarray:
    """Vectors of the distinct texts of the catalogue and the train split."""
    columns = [column for column in (items.text_row, train.text_row, train.query_row) if column is not None]
    rows = np.unique(np.concatenate(columns))
    return texts.vectors[rows[rows != NO_TEXT]]


def _key(
    config: Config,
    items: ItemTable,
    train: SequenceTable,
    validation: SequenceTable | None,
    texts: TextVectors | None,
) -> str:
    """What a checkpoint belongs to."""
    parts: list[Any] = [config.to_json(), items.item_id, items.train_count, items.text_row, train.offsets, train.item]
    parts += [validation.offsets, validation.item, validation.target_count] if validation is not None else []
    parts += [list(texts.vectors.shape), texts.encoder] if texts is not None else []
    return key_of(*parts)
