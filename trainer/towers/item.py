"""The item tower: what is known of an item -> one vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.config import ModelConfig
from trainer.data.tables import NO_TEXT, UNKNOWN_ITEM, ItemTable, TextVectors
from trainer.text.fine_tuning.vectors import CurrentTextVectors
from trainer.towers.inputs import ItemInputs
from trainer.towers.whitening import Whitening
from trainer.training.randomness import RandomStream

# Of an embedding, and of what dense features contribute: no part drowns another at the start. Text has variance 1 in
# each of its directions and contributes the root of their number times that: it speaks before ids have learnt to.
INITIAL_STDDEV = 0.02
TEXTS_AT_ONCE = 65_536
START_LENGTH = 4.0  # of what `start_ids` adds, in lengths of a random embedding


@dataclass(frozen=True)
class _Catalogue:
    """What is known of the items, row 0 the unknown one. Not part of the model's weights."""

    id_row: tf.Tensor  # int32 [n + 1], row of the id embedding
    columns: dict[str, tf.Tensor | tf.RaggedTensor]  # [n + 1, ...]
    whitened: tf.Tensor | None  # float32 [n + 1, text_dim], of texts that do not change in training
    text_row: tf.Tensor | None  # int32 [n + 1], of those that do
    current: CurrentTextVectors | None


class ItemTower(tf.keras.layers.Layer):
    """The sum of an id embedding and projections of text, categorical, multi-valued, bucketed and dense features.

    Ids seen fewer than `min_id_count` times in training, and ids outside the catalogue, share one embedding; in
    training every id is exchanged for it with probability `id_dropout`, so that text and features learn to stand alone
    (DropoutNet: Volkovs et al., 2017). With `similarity: cosine` vectors have unit length.

    Args:
      config: the model's configuration.
      inputs: sizes of the inputs.
      stream: source of randomness.
    """

    def __init__(self, config: ModelConfig, inputs: ItemInputs, stream: RandomStream) -> None:
        super().__init__(name="item_tower")
        self.config, self.inputs, self._stream = config, inputs, stream
        self._place = stream.place()
        self._identified = config.use_item_id or not inputs.content
        self._id_dropout = config.id_dropout if inputs.content else 0.0
        dim = config.dim

        def normal(rows: int, name: str) -> tf.Variable:
            seed = stream.initializer_seed()
            return self.add_weight(
                name=name, shape=[rows, dim], initializer=tf.keras.initializers.RandomNormal(0.0, INITIAL_STDDEV, seed)
            )

        # Row 0 is the shared embedding of unknown, rare and dropped ids.
        self.id_embedding = normal(inputs.items + 1 if self._identified else 1, "id_embedding")
        self.feature_embeddings = {
            name: normal(size, name)
            for prefix, sizes in (
                ("categorical", inputs.categorical),
                ("multi_valued", inputs.multi_valued),
                ("numeric", inputs.numeric),
            )
            for name, size in ((f"{prefix}_{feature}", size) for feature, size in sizes.items())
        }
        widths = {f"dense_{name}": width for name, width in inputs.dense.items()}
        if inputs.text_width:
            self.whitening = Whitening(inputs.text_width, config.text_dim)
            widths["text"] = self.whitening.dim
        self.projections = {
            name: tf.keras.layers.Dense(
                dim,
                use_bias=False,
                kernel_initializer=tf.keras.initializers.RandomNormal(
                    0.0, INITIAL_STDDEV if name == "text" else INITIAL_STDDEV / width**0.5, stream.initializer_seed()
                ),
                name=f"{name}_projection",
            )
            for name, width in widths.items()
        }
        for name, width in widths.items():
            self.projections[name].build([None, width])
        self._catalogue: _Catalogue | None = None

    def attach(self, items: ItemTable, texts: TextVectors | CurrentTextVectors | None) -> None:
        """Gives the tower the catalogue, so that `vectors` and `all_vectors` can read it.

        The whitening should be as it is to stay: texts that do not change pass through it here, once.
        """
        if len(items) != self.inputs.items:
            raise ValueError(
                f"`items` should be the catalogue the tower was built for ({self.inputs.items} items). "
                f"Received: {len(items)} items"
            )
        known = np.flatnonzero(items.train_count >= self.config.min_id_count) + 1
        id_row = np.zeros(len(items) + 1, np.int32)
        id_row[known] = known
        columns: dict[str, tf.Tensor | tf.RaggedTensor] = {}
        for prefix, values, wanted in (
            ("categorical", items.categorical, self.inputs.categorical),
            ("numeric", items.bucketed, self.inputs.numeric),
            ("dense", items.dense, self.inputs.dense),
        ):
            for name in wanted:
                column = values[name]
                columns[f"{prefix}_{name}"] = tf.constant(np.concatenate([np.zeros_like(column[:1]), column]))
        for name in self.inputs.multi_valued:
            lists = items.multi_valued[name]
            offsets = np.concatenate([[0], lists.offsets]).astype(np.int64)
            columns[f"multi_valued_{name}"] = tf.RaggedTensor.from_row_splits(lists.values.astype(np.int32), offsets)
        whitened = text_row = current = None
        if self.inputs.text_width:
            if texts is None:
                raise ValueError("`texts` should be given: the tower reads item texts. Received: None")
            rows = np.concatenate([[NO_TEXT], items.text_row]).astype(np.int32)
            if isinstance(texts, CurrentTextVectors):
                text_row, current = tf.constant(rows), texts
            else:
                stored = texts_tensor(texts)
                pieces = [
                    self.whitening(gather_texts(stored, rows[first : first + TEXTS_AT_ONCE]))
                    for first in range(0, len(rows), TEXTS_AT_ONCE)
                ]
                whitened = tf.concat(pieces, axis=0)
        self._catalogue = _Catalogue(tf.constant(id_row), columns, whitened, text_row, current)

    def start_ids(self, directions: np.ndarray) -> None:
        """Adds to the initial id embeddings, before training.

        Args:
          directions: float32 [n + 1, dim], row 0 the unknown item; rows of at most length 1.
        """
        if self._identified:
            length = START_LENGTH * INITIAL_STDDEV * self.config.dim**0.5
            self.id_embedding.assign_add(directions * length)

    def all_vectors(self, training: bool = False) -> tf.Tensor:
        """Vectors of the whole catalogue, float32 [n + 1, dim]; row 0 is the unknown item. Gradients flow."""
        return self._vectors(None, training)

    def vectors(self, index: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Vectors of the items with these indices: int32 [m] -> float32 [m, dim]."""
        return self._vectors(index, training)

    def call(
        self, features: Mapping[str, tf.Tensor], training: bool = False, unknown: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Vectors of items described by their features, which need not be in the catalogue.

        Args:
          features: `text` float32 [m, width] (zeros: none), `categorical_<name>` and `numeric_<name>` (bucket) int32
            [m], `multi_valued_<name>` int32 [m, values] padded with 0, or ragged, `dense_<name>` float32 [m, width];
            each one that the tower was built with. Optionally `item_index` int32 [m]; without it, or where it is 0, the
            id counts as unknown.
          unknown: float32 [1, dim], the first row of `id_embedding`, where features hold no `item_index`: for whoever
            needs no more than this row of it.

        Returns:
          float32 [m, dim].
        """
        if self.inputs.text_width:
            features = {**features, "text": self.whitening(features["text"])}
        content = self._content(features)
        index = features.get("item_index")
        if index is None or not self._identified:
            identity = self.id_embedding[:1] if unknown is None else unknown
            if content is None:
                raise ValueError("`features` should hold `item_index`: this tower knows items by their id alone")
        else:
            if self._catalogue is not None:
                index = tf.gather(self._catalogue.id_row, index)
            identity = tf.gather(self.id_embedding, index)
        return self._finish(identity if content is None else identity + content)

    def _vectors(self, index: tf.Tensor | None, training: bool) -> tf.Tensor:
        if self._catalogue is None:
            raise ValueError("`attach` should be called before vectors are asked for")
        catalogue = self._catalogue

        def rows_of(column: tf.Tensor) -> tf.Tensor:
            return column if index is None else tf.gather(column, index)

        rows = rows_of(catalogue.id_row)
        known = rows != UNKNOWN_ITEM
        if training and self._id_dropout:
            seed = self._stream.seed(self._place)
            known &= tf.random.stateless_uniform(tf.shape(rows), seed) >= self._id_dropout
        unknown = self.id_embedding[:1]  # [1, dim]
        if not self._identified:
            identity = tf.repeat(unknown, tf.size(rows), axis=0)
        else:
            # The whole catalogue is read without a gather, whose gradient would have to be put together row by row.
            own = self.id_embedding.read_value() if index is None else tf.gather(self.id_embedding, rows)
            identity = tf.where(known[:, tf.newaxis], own, unknown)
        if not self.inputs.content:
            return self._finish(identity)
        features = {name: rows_of(column) for name, column in catalogue.columns.items()}
        if catalogue.whitened is not None:
            features["text"] = rows_of(catalogue.whitened)
        elif catalogue.text_row is not None:
            features["text"] = self.whitening(gather_texts(catalogue.current, rows_of(catalogue.text_row)))
        return self._finish(identity + self._content(features))

    def _content(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor | None:
        """What all but the id contributes, [m, dim]; the texts in `features` are whitened."""
        parts = [
            _mean(table, features[name]) if name.startswith("multi_valued_") else tf.gather(table, features[name])
            for name, table in self.feature_embeddings.items()
        ]
        parts += [projection(features[name]) for name, projection in self.projections.items()]
        return tf.add_n(parts) if parts else None

    def _finish(self, vectors: tf.Tensor) -> tf.Tensor:
        return tf.math.l2_normalize(vectors, axis=-1) if self.config.similarity == "cosine" else vectors


def gather_texts(vectors: tf.Tensor | CurrentTextVectors, rows: tf.Tensor) -> tf.Tensor:
    """Rows of the text vectors as float32, zeros where the row is NO_TEXT: [...] -> [..., width]."""
    if isinstance(vectors, CurrentTextVectors):
        return vectors.gather(rows)
    found = tf.gather(vectors, tf.maximum(rows, 0))
    return tf.cast(tf.where((rows >= 0)[..., tf.newaxis], found, tf.zeros([], found.dtype)), tf.float32)


def texts_tensor(texts: TextVectors | CurrentTextVectors) -> tf.Tensor | CurrentTextVectors:
    """The text vectors as a tensor in the host's memory, at least one row long so that row 0 can be gathered.

    Those that change in training stay what they are.
    """
    if isinstance(texts, CurrentTextVectors):
        return texts
    vectors = texts.vectors
    if len(vectors) == 0:
        vectors = np.zeros([1, texts.width], np.float16)
    with tf.device("/CPU:0"):
        return tf.convert_to_tensor(vectors)


def _mean(table: tf.Tensor, values: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
    """Mean of the embeddings of each row's values, zeros for a row without: [m, values] -> [m, dim]."""
    if not isinstance(values, tf.RaggedTensor):
        values = tf.ragged.boolean_mask(values, values > 0)
    segments, count = values.value_rowids(), values.nrows()
    total = tf.math.unsorted_segment_sum(tf.gather(table, values.values), segments, count)
    length = tf.cast(tf.maximum(values.row_lengths(), 1), tf.float32)
    return total / length[:, tf.newaxis]
