"""The features of all items as tensors, from which the item tower reads rows by item index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.config import ModelConfig
from trainer.data.tables import NO_TEXT, ItemTable, TextVectors
from trainer.text.fine_tuning.vectors import CurrentTextVectors
from trainer.towers.inputs import ItemInputs
from trainer.towers.text_vectors import gather_texts, texts_tensor
from trainer.towers.whitening import Whitening

TEXTS_AT_ONCE = 65_536


@dataclass(frozen=True)
class FixedTexts:
    """Texts of items whose vectors do not change in training."""

    whitened: tf.Tensor  # float32 [n + 1, text_dim]

    def read(self, index: tf.Tensor | None) -> tf.Tensor:
        return rows_of(self.whitened, index)


@dataclass(frozen=True)
class FineTunedTexts:
    """Texts of items whose encoder is trained with the towers."""

    text_row: tf.Tensor  # int32 [n + 1]
    vectors: CurrentTextVectors
    whitening: Whitening

    def read(self, index: tf.Tensor | None) -> tf.Tensor:
        return self.whitening(gather_texts(self.vectors, rows_of(self.text_row, index)))


@dataclass(frozen=True)
class Catalogue:
    """The features of all items; row 0 is the unknown item. Not part of the model's weights."""

    id_row: tf.Tensor  # int32 [n + 1], row of the id embedding
    columns: dict[str, tf.Tensor | tf.RaggedTensor]  # [n + 1, ...]
    texts: FixedTexts | FineTunedTexts | None

    def features(self, index: tf.Tensor | None) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        """Features of the items with these indices, int32 [m]; None: of all. `text` is whitened, [m, text_dim]."""
        features = {name: rows_of(column, index) for name, column in self.columns.items()}
        return features if self.texts is None else {**features, "text": self.texts.read(index)}


def rows_of(column: tf.Tensor, index: tf.Tensor | None) -> tf.Tensor:
    """The rows of a column with these indices, int32 [m]; None: all rows."""
    return column if index is None else tf.gather(column, index)


def make_catalogue(
    config: ModelConfig,
    inputs: ItemInputs,
    items: ItemTable,
    texts: TextVectors | CurrentTextVectors | None,
    whitening: Whitening | None,
) -> Catalogue:
    """The catalogue for an item tower.

    Args:
      config: the model's configuration.
      inputs: the features that the tower reads.
      items: the items.
      texts: vectors of their texts; None if the tower reads none.
      whitening: of these vectors; None if the tower reads none. It should be adapted already, because vectors that do
        not change in training are whitened here, once.

    Raises:
      ValueError: the tower reads texts, and `texts` is None.
    """
    frequent = np.flatnonzero(items.train_count >= config.min_id_count) + 1
    id_row = np.zeros(len(items) + 1, np.int32)
    id_row[frequent] = frequent
    columns = {
        f"{prefix}_{name}": tf.constant(_with_unknown_item(values[name]))
        for prefix, values, names in (
            ("categorical", items.categorical, inputs.categorical),
            ("numeric", items.bucketed, inputs.numeric),
            ("dense", items.dense, inputs.dense),
        )
        for name in names
    }
    for name in inputs.multi_valued:
        lists = items.multi_valued[name]
        offsets = np.concatenate([[0], lists.offsets]).astype(np.int64)
        columns[f"multi_valued_{name}"] = tf.RaggedTensor.from_row_splits(lists.values.astype(np.int32), offsets)
    return Catalogue(tf.constant(id_row), columns, None if whitening is None else _read_texts(items, texts, whitening))


def _with_unknown_item(column: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(column[:1]), column])


def _read_texts(
    items: ItemTable, texts: TextVectors | CurrentTextVectors | None, whitening: Whitening
) -> FixedTexts | FineTunedTexts:
    if texts is None:
        raise ValueError("`texts` should hold text vectors, because the item tower reads texts. Received: `texts=None`")
    rows = np.concatenate([[NO_TEXT], items.text_row]).astype(np.int32)
    if isinstance(texts, CurrentTextVectors):
        return FineTunedTexts(tf.constant(rows), texts, whitening)
    vectors = texts_tensor(texts)
    pieces = [
        whitening(gather_texts(vectors, rows[first : first + TEXTS_AT_ONCE]))
        for first in range(0, len(rows), TEXTS_AT_ONCE)
    ]
    return FixedTexts(tf.concat(pieces, axis=0))
