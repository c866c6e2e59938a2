"""The item tower: the features of an item -> one vector."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from trainer.config import ModelConfig
from trainer.data.tables import UNKNOWN_ITEM, ItemTable, TextVectors
from trainer.text.fine_tuning.vectors import CurrentTextVectors
from trainer.towers.catalogue import Catalogue, make_catalogue, rows_of
from trainer.towers.embeddings import INITIAL_STDDEV, comparable, normal_weight
from trainer.towers.inputs import ItemInputs
from trainer.towers.whitening import Whitening
from trainer.training.randomness import RandomStream

INITIAL_DIRECTION_LENGTH = 4.0  # `initialise_ids` scales directions by this multiple of a random embedding's length


class ItemTower(tf.keras.layers.Layer):
    """The sum of an id embedding and projections of text, categorical, multi-valued, bucketed and dense features.

    Ids with fewer than `min_id_count` train events, and ids outside the catalogue, share one embedding. In training,
    each id embedding is replaced by the shared one with probability `id_dropout`, so that text and features suffice for
    items without an embedding of their own (DropoutNet: Volkovs et al., 2017). With `similarity: cosine` vectors have
    unit length.

    Names of weights and attributes, and the order in which weights are created, should not change: checkpoints refer to
    the names, and the order decides the initial values.

    Args:
      config: the model's configuration.
      inputs: sizes of the inputs.
      stream: source of randomness.
    """

    def __init__(self, config: ModelConfig, inputs: ItemInputs, stream: RandomStream) -> None:
        super().__init__(name="item_tower")
        self.config, self.inputs, self._stream = config, inputs, stream
        self._place = stream.place()
        self._has_ids = config.use_item_id or not inputs.content
        self._id_dropout = config.id_dropout if inputs.content else 0.0
        dim = config.dim
        # Row 0 is the shared embedding of unknown, rare and dropped ids.
        self.id_embedding = normal_weight(self, stream, "id_embedding", [inputs.items + 1 if self._has_ids else 1, dim])
        sizes = {f"categorical_{name}": size for name, size in inputs.categorical.items()}
        sizes |= {f"multi_valued_{name}": size for name, size in inputs.multi_valued.items()}
        sizes |= {f"numeric_{name}": size for name, size in inputs.numeric.items()}
        self.feature_embeddings = {name: normal_weight(self, stream, name, [size, dim]) for name, size in sizes.items()}
        widths = {f"dense_{name}": width for name, width in inputs.dense.items()}
        self.whitening: Whitening | None = None
        if inputs.text_width:
            self.whitening = Whitening(inputs.text_width, config.text_dim)
            widths["text"] = self.whitening.dim
        self.projections = {name: _projection(name, width, dim, stream) for name, width in widths.items()}
        for name, width in widths.items():
            self.projections[name].build([None, width])
        self._catalogue: Catalogue | None = None

    def attach(self, items: ItemTable, texts: TextVectors | CurrentTextVectors | None) -> None:
        """Attaches the catalogue, which `vectors` and `all_vectors` read.

        The whitening should be adapted before, because text vectors that do not change in training are whitened here.

        Raises:
          ValueError: the number of items is not the tower's, or the tower reads texts and `texts` is None.
        """
        if len(items) != self.inputs.items:
            raise ValueError(
                f"`items` should be the catalogue the tower was built for ({self.inputs.items} items). "
                f"Received: {len(items)} items"
            )
        self._catalogue = make_catalogue(self.config, self.inputs, items, texts, self.whitening)

    def initialise_ids(self, directions: np.ndarray) -> None:
        """Adds directions to the id embeddings before training. Does nothing if the tower has no id embeddings.

        Args:
          directions: float32 [n + 1, dim], row 0 the unknown item; rows of length 1 or less.
        """
        if self._has_ids:
            length = INITIAL_DIRECTION_LENGTH * INITIAL_STDDEV * self.config.dim**0.5
            self.id_embedding.assign_add(directions * length)

    def all_vectors(self, training: bool = False) -> tf.Tensor:
        """Vectors of all items, float32 [n + 1, dim]; row 0 is the unknown item. Gradients flow."""
        return self._vectors(None, training)

    def vectors(self, index: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Vectors of the items with these indices: int32 [m] -> float32 [m, dim]. Gradients flow."""
        return self._vectors(index, training)

    def call(
        self, features: Mapping[str, tf.Tensor], training: bool = False, unknown: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Vectors of items described by their features, which need not be in the catalogue.

        Args:
          features: `text` float32 [m, width] (zeros: none), `categorical_<name>` and `numeric_<name>` (bucket) int32
            [m], `multi_valued_<name>` int32 [m, values] padded with 0, or ragged, `dense_<name>` float32 [m, width];
            all that the tower was built with. Optionally `item_index` int32 [m]; without it, or where it is 0, the id
            counts as unknown.
          unknown: float32 [1, dim], a copy of the first row of `id_embedding`. It is read in place of the weight if
            `features` has no `item_index`, so that a caller need not hold all id embeddings.

        Returns:
          float32 [m, dim].
        """
        if self.whitening is not None:
            features = {**features, "text": self.whitening(features["text"])}
        content = self._content(features)
        index = features.get("item_index")
        if index is None or not self._has_ids:
            identity = self.id_embedding[:1] if unknown is None else unknown
            if content is None:
                raise ValueError(
                    "`features` should hold `item_index`, because this tower reads nothing but ids. "
                    f"Received: {sorted(features)}"
                )
        else:
            if self._catalogue is not None:
                index = tf.gather(self._catalogue.id_row, index)
            identity = tf.gather(self.id_embedding, index)
        return comparable(identity if content is None else identity + content, self.config.similarity)

    def _vectors(self, index: tf.Tensor | None, training: bool) -> tf.Tensor:
        """Vectors of the items with these indices, int32 [m]; None: of all items."""
        if self._catalogue is None:
            raise ValueError("`attach` should be called before `vectors` and `all_vectors`")
        vectors = self._identities(rows_of(self._catalogue.id_row, index), index is None, training)
        if self.inputs.content:
            vectors += self._content(self._catalogue.features(index))
        return comparable(vectors, self.config.similarity)

    def _identities(self, rows: tf.Tensor, all_items: bool, training: bool) -> tf.Tensor:
        """Id embeddings, and the shared embedding for unknown and dropped ids: int32 [m] -> float32 [m, dim].

        Args:
          rows: rows of `id_embedding`; 0 = unknown.
          all_items: whether `rows` has one row for each item of the catalogue, in order.
          training: whether ids are dropped.
        """
        known = rows != UNKNOWN_ITEM
        if training and self._id_dropout:
            seed = self._stream.seed(self._place)
            known &= tf.random.stateless_uniform(tf.shape(rows), seed) >= self._id_dropout
        unknown = self.id_embedding[:1]  # [1, dim]
        if not self._has_ids:
            return tf.repeat(unknown, tf.size(rows), axis=0)
        # All items are read without a gather: its gradient would be summed row by row.
        own = self.id_embedding.read_value() if all_items else tf.gather(self.id_embedding, rows)
        return tf.where(known[:, tf.newaxis], own, unknown)

    def _content(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor | None:
        """The sum of all inputs except the id, [m, dim]; None without such inputs. `text` should be whitened."""
        parts = [
            _mean(table, features[name]) if name.startswith("multi_valued_") else tf.gather(table, features[name])
            for name, table in self.feature_embeddings.items()
        ]
        parts += [projection(features[name]) for name, projection in self.projections.items()]
        return tf.add_n(parts) if parts else None


def _projection(name: str, width: int, dim: int, stream: RandomStream) -> tf.keras.layers.Dense:
    """The projection of a dense feature or of texts, [m, width] -> [m, dim].

    A dense feature starts with vectors as long as an embedding's, so that no input dominates at first. Whitened text
    has variance 1 in each direction and starts sqrt(width) times as long: it counts more until ids have been learnt.
    """
    stddev = INITIAL_STDDEV if name == "text" else INITIAL_STDDEV / width**0.5
    return tf.keras.layers.Dense(
        dim,
        use_bias=False,
        kernel_initializer=tf.keras.initializers.RandomNormal(0.0, stddev, stream.initializer_seed()),
        name=f"{name}_projection",
    )


def _mean(table: tf.Tensor, values: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
    """Mean of the embeddings of each row's values, zeros for a row without values: [m, values] -> [m, dim]."""
    if not isinstance(values, tf.RaggedTensor):
        values = tf.ragged.boolean_mask(values, values > 0)
    segments, count = values.value_rowids(), values.nrows()
    total = tf.math.unsorted_segment_sum(tf.gather(table, values.values), segments, count)
    length = tf.cast(tf.maximum(values.row_lengths(), 1), tf.float32)
    return total / length[:, tf.newaxis]
