"""What a request says of an item, and how the item tower is told: columns of the items table as they stand there."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from serving.graph.user_inputs import MANY, ONE, Specs, Tensors
from trainer.config import Config
from trainer.data.transform_graph import TransformGraph
from trainer.text.store.vectors import as_stored
from trainer.towers.inputs import ItemInputs


class ItemInputReader:
    """Makes the item tower's features of raw inputs, as ingestion and Transform do of a row of the items table.

    Args:
      config: the configuration.
      inputs: what the item tower reads.
      transform: the items' transform graph; needed if the tower reads categorical, multi-valued or numeric features.
      encode: texts string [N] -> vectors float32 [N, width]; needed if the tower reads texts.
    """

    def __init__(
        self,
        config: Config,
        inputs: ItemInputs,
        transform: TransformGraph | None,
        encode: Callable[[tf.Tensor], tf.Tensor],
    ) -> None:
        self._inputs, self._transform = inputs, transform
        self._encode = lambda texts: as_stored(encode(texts))
        columns = list(config.data.items.text) if config.data.items is not None else []
        self._texts = [f"text_{name}" for name in columns] if inputs.text_width else []

    def specs(self) -> Specs:
        """The inputs that describe an item: `text_*`, `categorical_*` [B], `multi_valued_*` [B, V] padded with "",
        `numeric_*` [B], NaN where it is not known, and `dense_*` [B, width], zeros where it is not known.
        """
        inputs = self._inputs
        specs = {name: tf.TensorSpec(ONE, tf.string) for name in self._texts}
        specs |= {f"categorical_{name}": tf.TensorSpec(ONE, tf.string) for name in inputs.categorical}
        specs |= {f"multi_valued_{name}": tf.TensorSpec(MANY, tf.string) for name in inputs.multi_valued}
        specs |= {f"numeric_{name}": tf.TensorSpec(ONE, tf.float32) for name in inputs.numeric}
        return specs | {
            f"dense_{name}": tf.TensorSpec([None, width], tf.float32) for name, width in inputs.dense.items()
        }

    def read(self, inputs: Tensors, rows: tf.Tensor) -> Tensors:
        """The item tower's features of a request with the inputs in `specs`; texts only of some rows, bool [B]."""
        features = {name: value for name, value in inputs.items() if name.startswith("dense_")}
        singles = {name: value for name, value in inputs.items() if name.startswith(("categorical_", "numeric_"))}
        if singles:
            features |= self._ids(singles)
        for name in (name for name in inputs if name.startswith("multi_valued_")):
            ids = self._ids({name: tf.reshape(inputs[name], [-1])})[name]
            ids = tf.sort(tf.reshape(ids, tf.shape(inputs[name])), axis=1, direction="DESCENDING")
            repeated = tf.pad(ids[:, 1:] == ids[:, :-1], [[0, 0], [1, 0]])[:, : tf.shape(ids)[1]]
            features[name] = tf.where(repeated, 0, ids)  # a value counts once, as in the table
        if self._inputs.text_width:
            written = tf.fill(tf.shape(rows), "")
            for column in (tf.strings.strip(inputs[name]) for name in self._texts):
                between = tf.where((written != "") & (column != ""), "\n", "")
                written = tf.strings.join([written, between, column])
            features["text"] = self._encode(tf.where(rows, written, ""))
        return features

    def _ids(self, raw: Tensors) -> Tensors:
        assert self._transform is not None
        return self._transform.ids(raw)
