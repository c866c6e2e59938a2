"""Encodes items from raw inputs: columns of the items table, with values as in the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from serving.graph.specs import MANY, ONE, Specs, Tensors
from trainer.config import Config
from trainer.data.transform_graph import TransformGraph
from trainer.text.store.vectors import as_stored
from trainer.towers.inputs import ItemInputs


class ItemEncoder:
    """Encodes items with the item tower. Features are made in the same way as ingestion and Transform make them.

    Args:
      config: the configuration.
      tower: the item tower.
      transform: the items' transform graph; needed if the tower reads categorical, multi-valued or numeric features.
      encode_text: texts string [N] -> vectors float32 [N, width]; needed if the tower reads texts.
    """

    def __init__(
        self,
        config: Config,
        tower: Any,
        transform: TransformGraph | None,
        encode_text: Callable[[tf.Tensor], tf.Tensor] | None,
    ) -> None:
        inputs: ItemInputs = tower.inputs
        if transform is None and (inputs.categorical or inputs.multi_valued or inputs.numeric):
            raise ValueError("`item_transform` should be given: the item tower reads categories. Received: None")
        self._tower, self._inputs, self._transform, self._encode_text = tower, inputs, transform, encode_text
        columns = list(config.data.items.text) if config.data.items is not None else []
        self._texts = [f"text_{name}" for name in columns] if inputs.text_width else []

    def specs(self) -> Specs:
        """The inputs that describe an item, as far as the item tower reads them: `text_*` and `categorical_*` [B],
        `multi_valued_*` [B, V] padded with "", `numeric_*` [B], NaN if unknown, and `dense_*` [B, width], zeros if
        unknown.
        """
        inputs = self._inputs
        specs = {name: tf.TensorSpec(ONE, tf.string) for name in self._texts}
        specs |= {f"categorical_{name}": tf.TensorSpec(ONE, tf.string) for name in inputs.categorical}
        specs |= {f"multi_valued_{name}": tf.TensorSpec(MANY, tf.string) for name in inputs.multi_valued}
        specs |= {f"numeric_{name}": tf.TensorSpec(ONE, tf.float32) for name in inputs.numeric}
        return specs | {
            f"dense_{name}": tf.TensorSpec([None, width], tf.float32) for name, width in inputs.dense.items()
        }

    def encode(self, inputs: Tensors, with_texts: tf.Tensor, id_embedding: tf.Tensor) -> tf.Tensor:
        """Vectors of items, float32 [B, dim].

        Args:
          inputs: those in `specs`.
          with_texts: bool [B]; rows with False are encoded as if they had no texts.
          id_embedding: float32 [1, dim], the id embedding used for all rows.
        """
        return self._tower(self._features(inputs, with_texts), unknown=id_embedding)

    def _features(self, inputs: Tensors, with_texts: tf.Tensor) -> Tensors:
        features = {name: value for name, value in inputs.items() if name.startswith("dense_")}
        single_valued = {name: value for name, value in inputs.items() if name.startswith(("categorical_", "numeric_"))}
        if single_valued:
            features |= self._ids(single_valued)
        for name in (name for name in inputs if name.startswith("multi_valued_")):
            ids = self._ids({name: tf.reshape(inputs[name], [-1])})[name]
            ids = tf.sort(tf.reshape(ids, tf.shape(inputs[name])), axis=1, direction="DESCENDING")
            repeated = tf.pad(ids[:, 1:] == ids[:, :-1], [[0, 0], [1, 0]])[:, : tf.shape(ids)[1]]
            features[name] = tf.where(repeated, 0, ids)  # a repeated value counts once, as in the items table
        if self._inputs.text_width:
            assert self._encode_text is not None
            text = tf.fill(tf.shape(with_texts), "")
            for column in (tf.strings.strip(inputs[name]) for name in self._texts):
                separator = tf.where((text != "") & (column != ""), "\n", "")
                text = tf.strings.join([text, separator, column])
            features["text"] = as_stored(self._encode_text(tf.where(with_texts, text, "")))
        return features

    def _ids(self, raw: Tensors) -> Tensors:
        assert self._transform is not None
        return self._transform.ids(raw)
