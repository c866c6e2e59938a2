"""The two-tower retrieval model: training on whole sequences, saving, loading."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from trainer import distribution
from trainer.batches import sequences_per_batch, training_batches, training_windows
from trainer.checkpoints import Checkpoints, key_of
from trainer.config import Config
from trainer.data import NO_TEXT, UNKNOWN_ITEM, ItemTable, SequenceTable, TextVectors
from trainer.directories import written_aside
from trainer.distribution import is_chief
from trainer.errors import TowersError, UsageError
from trainer.evaluation import metrics
from trainer.evaluation.full_ranking import rank_all, ranks_in, targets_of, top_k
from trainer.fitting import adam, fit
from trainer.graphs import OneGraph
from trainer.objectives import Objective, objective
from trainer.precision import FLOAT32, products_in, scaled
from trainer.progress import OnEpoch, OnUpdate
from trainer.starting_ids import starting_directions
from trainer.text import fine_tuning
from trainer.text.current import CurrentTexts
from trainer.towers.inputs import ItemInputs, UserInputs, as_dict, item_inputs, user_inputs
from trainer.towers.item import ItemTower, gather_texts, texts_tensor
from trainer.towers.transformer import RandomStream
from trainer.towers.user import UserTower

CONFIG, INPUTS, WEIGHTS, HISTORY = "config.json", "inputs.json", "weights", "history.json"
ITEM_IDS, ITEM_VECTORS = "item_ids.json", "item_vectors.npy"
VECTORS_AT_ONCE = 65_536


class RetrievalModel(tfrs.Model):
    """Item tower and user tower, and the loss that trains both.

    score(user, item) = user vector · item vector.

    Args:
      config: the configuration.
      items_in, user_in: sizes of the towers' inputs.
      products: type of the user tower's and the softmax's matrix products.
    """

    def __init__(self, config: Config, items_in: ItemInputs, user_in: UserInputs, products: tf.DType = FLOAT32) -> None:
        super().__init__()
        self.config = config
        self.stream = RandomStream(config.seed)
        towers = config.model
        if config.text.trainable_layers:  # the encoder learns to tell texts apart: its vectors are read as they are
            towers = towers.model_copy(
                update={"text_dim": max(items_in.text_width, user_in.text_width, user_in.query_width, 1)}
            )
        self.item_tower = ItemTower(towers, items_in, self.stream)
        self.user_tower = UserTower(towers, user_in, self.stream, products)
        self.tuning: fine_tuning.FineTuning | None = None
        self.encoder: str | None = None  # of texts, as `trainer.text` loads it, if it was trained with the towers
        self._products = products
        self._objective: Objective | None = None
        self._texts: tf.Tensor | CurrentTexts | None = None
        self._make_graphs()

    @property
    def reads_texts(self) -> bool:
        user_in = self.user_tower.inputs
        return bool(self.item_tower.inputs.text_width or user_in.text_width or user_in.query_width)

    def tune(self, items: ItemTable, tuning: fine_tuning.FineTuning) -> None:
        """`attach`, with texts whose encoder is trained too: its trained layers become part of the model's weights."""
        self.attach(items, tuning.texts)
        self.tuning, self._tuned_layers, self._tuned_texts = tuning, tuning.layers, tuning.texts.stored

    def attach(self, items: ItemTable, texts: TextVectors | CurrentTexts | None) -> None:
        """Gives the model, whose whitening is as it will stay, the catalogue and the text vectors.

        Neither becomes part of its weights.
        """
        self.item_tower.attach(items, texts)
        self._make_graphs()
        user_in = self.user_tower.inputs
        if user_in.text_width or user_in.query_width:
            if texts is None:
                raise ValueError("`texts` should be given: the user tower reads texts. Received: None")
            self._texts = texts_tensor(texts)
        content = bool(self.item_tower.inputs.content)
        self._objective = objective(self.config, items, content, self.stream, self._products)

    def whiten(self, vectors: np.ndarray) -> None:
        """Adapts the towers to the texts they will read, float [texts, width]; before `attach`."""
        for tower in (self.item_tower, self.user_tower):
            if hasattr(tower, "whitening"):
                tower.whitening.adapt(vectors, self.config.seed)

    def _make_graphs(self) -> None:
        self._some_vectors = OneGraph(self.item_tower.vectors)
        self._search_graph = OneGraph(self._search, widths={1: self.config.model.dim})

    def features(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A batch of `trainer.batches` as the user tower wants it: text vectors in place of their rows."""
        features = dict(batch)
        for row, name in (("text_row", "text"), ("query_row", "query")):
            if row in features:
                features[name] = gather_texts(self._texts, features.pop(row))
        return features

    @fine_tuning.with_encoded_texts
    def compute_loss(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """The configured loss (see `trainer.objectives`), meant over all positions of an all-positions batch."""
        if self._objective is None:
            raise ValueError("`attach` should be called before training")
        features = self.features(inputs)
        learn = features["target"] != UNKNOWN_ITEM  # [B, P]
        targets = tf.boolean_mask(features["target"], learn)  # [T]

        def queries_of(features: Mapping[str, tf.Tensor], item_vectors: tf.Tensor) -> tf.Tensor:
            return tf.boolean_mask(self.user_tower(features, item_vectors, training=training), learn)  # [T, dim]

        return self._objective(self.item_tower, queries_of, features, targets, training)

    def item_vectors(self) -> tf.Tensor:
        """Vectors of the whole catalogue, float32 [n + 1, dim], row 0 the unknown item; made in bounded pieces."""
        count = self.item_tower.inputs.items + 1
        pieces = [
            self._some_vectors(tf.range(first, min(first + VECTORS_AT_ONCE, count)))
            for first in range(0, count, VECTORS_AT_ONCE)
        ]
        return tf.concat(pieces, axis=0)

    def encode(self, features: Mapping[str, tf.Tensor], item_vectors: tf.Tensor) -> tf.Tensor:
        """User vectors of requests, float32 [B, dim]; see `UserTower.encode`."""
        return self.user_tower.encode(features, item_vectors)

    def search(
        self,
        batch: Mapping[str, tf.Tensor],
        item_vectors: tf.Tensor,
        allowed: tf.Tensor,
        excluded: tf.Tensor,
        k: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Exact search for a request batch of `trainer.batches`; see `top_k` for the last three arguments.

        Returns:
          (float32 [B, k] scores, int32 [B, k] item indices, float32 [B, dim] user vectors).
        """
        return self._search_graph(dict(batch), item_vectors, allowed, excluded, k)

    def _search(
        self,
        batch: Mapping[str, tf.Tensor],
        item_vectors: tf.Tensor,
        allowed: tf.Tensor,
        excluded: tf.Tensor,
        k: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        users = self.encode(self.features(batch), item_vectors)
        scores = tf.matmul(users, item_vectors, transpose_b=True)  # [B, n + 1]
        return (*top_k(scores, allowed, excluded, k), users)

    def save(self, directory: Path, items: ItemTable, history: list[dict[str, Any]]) -> None:
        """Writes what `load` and the export read. `directory` should exist and be empty."""
        if self.tuning is not None:
            self.tuning.save(directory)  # first: it brings the text vectors up to date
        (directory / CONFIG).write_text(self.config.to_json(), encoding="utf-8")
        sizes = {"item": as_dict(self.item_tower.inputs), "user": as_dict(self.user_tower.inputs)}
        (directory / INPUTS).write_text(json.dumps(sizes, indent=1), encoding="utf-8")
        (directory / ITEM_IDS).write_text(json.dumps(list(items.item_id), ensure_ascii=False), encoding="utf-8")
        np.save(directory / ITEM_VECTORS, self.item_vectors().numpy())
        (directory / HISTORY).write_text(json.dumps(history, indent=1), encoding="utf-8")
        self._weights().write(str(directory / WEIGHTS))

    def restore(self, directory: Path) -> None:
        """Reads the weights that `save` wrote."""
        self._weights().read(str(directory / WEIGHTS)).assert_consumed()

    def _weights(self) -> tf.train.Checkpoint:
        return tf.train.Checkpoint(item_tower=self.item_tower, user_tower=self.user_tower)


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
        tuning = fine_tuning.start(config, items, texts, model.reads_texts)
        if tuning is not None:
            model.tune(items, tuning)
        else:
            if texts is not None and model.reads_texts:
                model.whiten(_texts_in_training(items, train, texts))
            model.attach(items, texts)
        model.item_tower.start_ids(starting_directions(config, len(items), train, texts))
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
        aside = stack.enter_context(written_aside(directory)) if is_chief(strategy) else None
        make_optimizer = adam if tuning is None else tuning.adam
        with strategy.scope():
            optimizer = make_optimizer(settings.learning_rate, settings.weight_decay)
            model.compile(optimizer=scaled(optimizer, products))

        def batches(epoch: int, first: int) -> Any:
            inputs = model.user_tower.inputs
            made = training_batches(train, inputs, windows, batch_size, config.seed, epoch, first)
            return made if tuning is None else tuning.batches(made, epoch)

        validate: Callable[[], dict[str, float]] | None = None
        if validation is not None and int(validation.target_count.sum()):
            measured = _Validation(config, model, items, validation)
            validate = measured if tuning is None else tuning.before(measured)
        history, best = fit(
            model,
            batches,
            examples=lambda batch: int(np.count_nonzero(batch["target"] != UNKNOWN_ITEM)),
            examples_per_epoch=int(np.count_nonzero(train.item != UNKNOWN_ITEM)),
            steps_per_epoch=steps,
            epochs=settings.epochs,
            patience=min(settings.patience, max(2, -(-settings.patience_steps // steps))),
            average_epochs=settings.average_epochs,
            validate=validate,
            title="retrieval",
            strategy=strategy,
            checkpoints=kept,
            logs=logs,
            on_epoch=on_epoch,
            on_update=on_update,
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


def load(directory: str | Path, items: ItemTable, texts: TextVectors | None) -> RetrievalModel:
    """The model that `train` wrote.

    Raises:
      TowersError: the directory does not hold a model, or holds one of another catalogue.
    """
    directory = Path(directory)
    try:
        config = Config.from_json((directory / CONFIG).read_text(encoding="utf-8"))
        sizes = json.loads((directory / INPUTS).read_text(encoding="utf-8"))
        item_ids = json.loads((directory / ITEM_IDS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TowersError(
            f"{directory}: holds no retrieval model ({error}). Give a directory written by training."
        ) from None
    if item_ids != list(items.item_id):
        raise TowersError(
            f"{directory}: trained on another catalogue ({len(item_ids)} items, here {len(items)}). "
            f"Use the items of the run that trained it."
        )
    model = RetrievalModel(config, ItemInputs(**sizes["item"]), UserInputs(**sizes["user"]))
    model.encoder = fine_tuning.trained_encoder(config, directory)
    try:
        model.restore(directory)
    except (tf.errors.OpError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise TowersError(f"{directory}: the weights cannot be read ({reason}). Train again.") from None
    model.attach(items, fine_tuning.trained_texts(config, directory, texts))
    return model


class _Validation:
    """NDCG@10 and hit rate of the validation targets, over the full catalogue."""

    def __init__(self, config: Config, model: RetrievalModel, items: ItemTable, validation: SequenceTable) -> None:
        self._arguments = (config, model, items, validation)
        self._targets = targets_of(validation)
        users = np.flatnonzero(np.diff(self._targets.offsets))
        most = config.retrieval.max_validation_users
        if len(users) > most:
            users = np.sort(np.random.default_rng(config.seed).choice(users, most, replace=False))
        self._users = users

    def __call__(self) -> dict[str, float]:
        ranks = ranks_in(rank_all(*self._arguments, k=10, users=self._users), self._targets)
        counted = np.zeros(len(self._targets.offsets) - 1, bool)
        counted[self._users] = True
        kept = self._targets.only(counted[self._targets.user])
        values = metrics.from_ranks(ranks[counted[self._targets.user]], kept.offsets, [10])
        return {"ndcg@10": values["ndcg@10"], "hit_rate@10": values["hit_rate@10"]}
