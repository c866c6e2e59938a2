"""The two-tower retrieval model: training on whole sequences, saving, loading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from trainer.config import Config
from trainer.data.batches import BatchColumns
from trainer.data.tables import UNKNOWN_ITEM, ItemTable, TextVectors
from trainer.evaluation.full_ranking import top_k
from trainer.graphs import AnyShapeFunction
from trainer.retrieval.objectives import Objective, objective
from trainer.text.fine_tuning.training import FineTuning, encode_batch_texts
from trainer.text.fine_tuning.vectors import CurrentTextVectors
from trainer.towers.inputs import ItemInputs, UserInputs, as_dict
from trainer.towers.item import ItemTower
from trainer.towers.text_vectors import gather_texts, texts_tensor
from trainer.towers.user import UserTower
from trainer.training.precision import FLOAT32
from trainer.training.randomness import RandomStream

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
        self.fine_tuning: FineTuning | None = None
        self.encoder: str | None = None  # of texts, as `trainer.text` loads it, if it was trained with the towers
        self._products = products
        self._objective: Objective | None = None
        self._texts: tf.Tensor | CurrentTextVectors | None = None
        self._make_graphs()

    @property
    def columns(self) -> BatchColumns:
        """The columns that batches for the user tower have."""
        return self.user_tower.inputs.columns

    @property
    def reads_texts(self) -> bool:
        user_in = self.user_tower.inputs
        return bool(self.item_tower.inputs.text_width or user_in.text_width or user_in.query_width)

    def attach_fine_tuning(self, items: ItemTable, fine_tuning: FineTuning) -> None:
        """`attach`, with texts whose encoder is trained too: its trained layers become part of the model's weights."""
        self.attach(items, fine_tuning.text_vectors)
        self.fine_tuning = fine_tuning
        self._tuned_layers, self._tuned_texts = fine_tuning.layers, fine_tuning.text_vectors.stored

    def attach(self, items: ItemTable, texts: TextVectors | CurrentTextVectors | None) -> None:
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
            if tower.whitening is not None:
                tower.whitening.adapt(vectors, self.config.seed)

    def _make_graphs(self) -> None:
        self._some_vectors = AnyShapeFunction(self.item_tower.vectors)
        self._search_graph = AnyShapeFunction(self._search, widths={1: self.config.model.dim})

    def features(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A batch of `trainer.data.batches` as the user tower wants it: text vectors in place of their rows."""
        features = dict(batch)
        for row, name in (("text_row", "text"), ("query_row", "query")):
            if row in features:
                features[name] = gather_texts(self._texts, features.pop(row))
        return features

    @encode_batch_texts
    def compute_loss(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """The configured loss (see `objectives.py`), its mean over all positions of an all-positions batch."""
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
        """Exact search for a request batch of `trainer.data.batches`; see `top_k` for the last three arguments.

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
        if self.fine_tuning is not None:
            self.fine_tuning.save(directory)  # first: it brings the text vectors up to date
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
