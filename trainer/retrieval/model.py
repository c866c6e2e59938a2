"""The two-tower retrieval model: item vectors, user vectors, search, and the loss of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from trainer.config import Config
from trainer.data.batches import BatchColumns
from trainer.data.tables import UNKNOWN_ITEM, ItemTable, TextVectors
from trainer.evaluation.full_ranking import top_k
from trainer.graphs import AnyShapeFunction
from trainer.retrieval.objectives import Objective, make_objective
from trainer.text.fine_tuning.training import FineTuning, encode_batch_texts
from trainer.text.fine_tuning.vectors import CurrentTextVectors
from trainer.towers.inputs import ItemInputs, UserInputs
from trainer.towers.item import ItemTower
from trainer.towers.text_vectors import gather_texts, texts_tensor
from trainer.towers.user import UserTower
from trainer.training.precision import FLOAT32
from trainer.training.randomness import RandomStream

ITEMS_AT_ONCE = 65_536  # items whose vectors are computed together


class RetrievalModel(tfrs.Model):
    """Item tower and user tower, and the loss that trains both.

    score(user, item) = user vector · item vector.

    Attributes:
      fine_tuning: trains the text encoder together with the towers; None if the encoder is frozen or the model was
        loaded.
      encoder: directory of the fine-tuned text encoder of a loaded model, which `trainer.text.pretrained.load_encoder`
        reads; None if the encoder was frozen.

    Args:
      config: the configuration.
      items_in, user_in: sizes of the towers' inputs.
      products: type of the matrix products in the user tower and the softmax.
    """

    def __init__(self, config: Config, items_in: ItemInputs, user_in: UserInputs, products: tf.DType = FLOAT32) -> None:
        super().__init__()
        self.config = config
        self.stream = RandomStream(config.seed)
        towers = config.model
        if config.text.trainable_layers:
            # Vectors of a fine-tuned encoder are not whitened, and so not reduced to `text_dim` either.
            width = max(items_in.text_width, user_in.text_width, user_in.query_width, 1)
            towers = towers.model_copy(update={"text_dim": width})
        self.item_tower = ItemTower(towers, items_in, self.stream)
        self.user_tower = UserTower(towers, user_in, self.stream, products)
        self.fine_tuning: FineTuning | None = None
        self.encoder: str | None = None
        self._products = products
        self._objective: Objective | None = None
        self._texts: tf.Tensor | CurrentTextVectors | None = None
        self._make_graphs()

    @property
    def columns(self) -> BatchColumns:
        """The columns of batches for the user tower."""
        return self.user_tower.inputs.columns

    @property
    def reads_texts(self) -> bool:
        """Whether a tower has text vectors among its inputs."""
        return bool(self.item_tower.inputs.text_width) or self._user_tower_reads_texts

    @property
    def _user_tower_reads_texts(self) -> bool:
        inputs = self.user_tower.inputs
        return bool(inputs.text_width or inputs.query_width)

    def whiten(self, vectors: np.ndarray) -> None:
        """Fits the towers' whitening to text vectors, float [texts, width]. Call it before `attach`."""
        for tower in (self.item_tower, self.user_tower):
            if tower.whitening is not None:
                tower.whitening.adapt(vectors, self.config.seed)

    def attach(self, items: ItemTable, texts: TextVectors | CurrentTextVectors | None) -> None:
        """Attaches the catalogue and the text vectors. Neither of them becomes part of the model's weights.

        The catalogue's text vectors are whitened here, so the whitening should not change afterwards.

        Raises:
          ValueError: a tower reads texts and `texts` is None, or the number of items is not that of the item tower.
        """
        self.item_tower.attach(items, texts)
        self._make_graphs()
        if self._user_tower_reads_texts:
            if texts is None:
                raise ValueError("`texts` should be given: the user tower reads texts. Received: None")
            self._texts = texts_tensor(texts)
        has_content = bool(self.item_tower.inputs.content)
        self._objective = make_objective(self.config, items, has_content, self.stream, self._products)

    def attach_fine_tuning(self, items: ItemTable, fine_tuning: FineTuning) -> None:
        """As `attach`, if the text encoder is trained too: its trained layers become part of the model's weights."""
        self.attach(items, fine_tuning.text_vectors)
        self.fine_tuning = fine_tuning
        # As attributes of the model, the layers are trained, and checkpoints save both the layers and the text vectors.
        self._tuned_layers, self._tuned_texts = fine_tuning.layers, fine_tuning.text_vectors.stored

    def _make_graphs(self) -> None:
        self._vectors_graph = AnyShapeFunction(self.item_tower.vectors)
        self._search_graph = AnyShapeFunction(self._search, widths={1: self.config.model.dim})

    def features(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A batch of `trainer.data.batches` as features of the user tower: text vectors replace the rows of texts."""
        features = dict(batch)
        for row, name in (("text_row", "text"), ("query_row", "query")):
            if row in features:
                features[name] = gather_texts(self._texts, features.pop(row))
        return features

    @encode_batch_texts
    def compute_loss(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """The mean loss of a batch's targets, float32 scalar; see `objectives.py` for the losses.

        Args:
          inputs: an all-positions batch of `trainer.data.batches.training_batches`.
          training: whether dropout applies.

        Raises:
          ValueError: no catalogue is attached.
        """
        if self._objective is None:
            raise ValueError("`attach` should be called before training")
        features = self.features(inputs)
        has_target = features["target"] != UNKNOWN_ITEM  # [B, P]
        targets = tf.boolean_mask(features["target"], has_target)  # [T]

        def encode_queries(features: Mapping[str, tf.Tensor], item_vectors: tf.Tensor) -> tf.Tensor:
            user_vectors = self.user_tower(features, item_vectors, training=training)  # [B, P, dim]
            return tf.boolean_mask(user_vectors, has_target)  # [T, dim]

        return self._objective(self.item_tower, encode_queries, features, targets, training)

    def item_vectors(self) -> tf.Tensor:
        """Vectors of the catalogue, float32 [n + 1, dim], row 0 the unknown item; computed in bounded memory."""
        count = self.item_tower.inputs.items + 1
        pieces = [
            self._vectors_graph(tf.range(first, min(first + ITEMS_AT_ONCE, count)))
            for first in range(0, count, ITEMS_AT_ONCE)
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
