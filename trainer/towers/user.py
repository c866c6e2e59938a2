"""The user tower: a history of events and the features of a request -> one vector."""

from __future__ import annotations

import math
from collections.abc import Mapping

import tensorflow as tf

from trainer.config import ModelConfig
from trainer.towers.clock import GAP_BUCKETS, RequestPeriod, period_vectors
from trainer.towers.dropout import Dropout, PositionMask, dropout_rate
from trainer.towers.embeddings import INITIAL_STDDEV, comparable, normal_weight, zero_weight
from trainer.towers.feature_inputs import EmbeddingInput, FeatureInput, GapInput, RatingInput, TextInput, sum_inputs
from trainer.towers.inputs import UserInputs
from trainer.towers.transformer import CausalTransformer
from trainer.towers.whitening import Whitening
from trainer.training.precision import FLOAT32, Dense
from trainer.training.randomness import RandomStream

Features = Mapping[str, tf.Tensor]


class UserTower(tf.keras.layers.Layer):
    """A causal transformer over the history, its output fused with the features of the request.

    The transformer's input 0 is a start token and its input p is event p - 1. Its output p therefore depends on the
    events before p, and not on event p. The request's features (query, context, profile, time) are added after the
    transformer, so that the query of one event cannot influence the prediction of another.

    Training hides some inputs at random (`model.side_dropout`), so that the tower also works where they are missing:
    the inputs of an event other than its item (text, type, rating, gap), the query, and the time of the request.

    Features of `encode` (one request after H events) and of `call` (every position of a sequence of P events):

    | key | `encode` | `call` |
    |---|---|---|
    | `item_index` int32, 0 = unknown or padding | [B, H] | [B, P] |
    | `length` int32, events in the row | [B] | not read |
    | `text` float32, what the user wrote with the event, zeros = nothing | [B, H, width] | [B, P, width] |
    | `event` int32, `rating` float32 as in the data and NaN = none, `timestamp` int64 | [B, H] | [B, P] |
    | `query` float32, zeros = nothing | [B, width] | [B, P, width] |
    | `request_timestamp` int64, 0 = unknown | [B] | [B, P] |
    | `context_<name>` int32 | [B] | [B, P] |
    | `profile_<name>` int32 | [B] | [B] or [B, P] |

    Rows are padded on the right, oldest event first. Features that the tower was not built with are not read.

    Names of weights and attributes, and the order in which weights and dropouts are created, should not change:
    checkpoints refer to the names, and the order decides the random numbers.

    Args:
      config: the model's configuration.
      inputs: sizes of the inputs.
      stream: source of randomness.
      products: type of the matrix products.
    """

    def __init__(
        self, config: ModelConfig, inputs: UserInputs, stream: RandomStream, products: tf.DType = FLOAT32
    ) -> None:
        super().__init__(name="user_tower")
        self.config, self.inputs, self._stream = config, inputs, stream
        query_mask, time_mask, self._event_mask = (PositionMask(config.side_dropout, stream) for _ in range(3))
        dim = config.dim
        # With `similarity: cosine`, item vectors have length 1, and this scale gives them unit variance. With `dot`,
        # random embeddings begin at a length of about INITIAL_STDDEV * sqrt(dim). The start token begins with the
        # standard deviation of scaled item vectors.
        scale = math.sqrt(dim)
        self.item_scale = self.add_weight(
            name="item_scale", shape=[], initializer=tf.keras.initializers.Constant(scale)
        )
        start_stddev = 1.0 if config.similarity == "cosine" else INITIAL_STDDEV * scale
        self.start = normal_weight(self, stream, "start", [dim], start_stddev)
        self.whitening: Whitening | None = None
        if inputs.text_width or inputs.query_width:
            self.whitening = Whitening(inputs.text_width or inputs.query_width, config.text_dim)
        self._event_inputs = self._make_event_inputs()
        if inputs.periods:
            self.event_period = zero_weight(self, "event_period", [len(inputs.periods), dim])
            self.request_period = zero_weight(self, "request_period", [len(inputs.periods), dim])
        self._request_inputs = self._make_request_inputs(query_mask)
        rate = dropout_rate(config.dropout, inputs.train_events)
        self.dropout = Dropout(rate, stream, name="dropout")
        self.period_dropout = Dropout(rate, stream, name="period_dropout")
        self._request_time: RequestPeriod | None = None
        if inputs.periods:
            self._request_time = RequestPeriod(self.request_period, inputs.periods, time_mask, self.period_dropout)
        self.transformer = CausalTransformer(
            dim, config.layers, config.heads, config.max_history + 1, rate, stream, products
        )
        self.transformer.build([None, None, dim])
        self.transformer(tf.zeros([1, 1, dim]))  # creates the weights of the blocks
        if self._request_inputs:
            self.fusion_hidden = Dense(
                2 * dim,
                products,
                kernel_initializer=tf.keras.initializers.GlorotUniform(stream.initializer_seed()),
                name="fusion_hidden",
            )
            # Starts at zero: an untrained fusion leaves the history's vector as it is.
            self.fusion_output = Dense(dim, products, kernel_initializer="zeros", name="fusion_output")
            self.fusion_hidden.build([None, 2 * dim])
            self.fusion_output.build([None, 2 * dim])

    def _make_event_inputs(self) -> list[FeatureInput]:
        """The inputs of an event other than its item and its calendar period.

        Their weights start at 0: on small data, untrained inputs would only add noise to the items.
        """
        inputs, dim = self.inputs, self.config.dim
        parts: list[FeatureInput] = []
        if inputs.text_width:
            assert self.whitening is not None
            projection = zero_weight(self, "text", [self.whitening.dim, dim])
            parts.append(TextInput("text", projection, self.whitening))
        if inputs.events:
            parts.append(EmbeddingInput("event", zero_weight(self, "event", [inputs.events, dim])))
        if inputs.rating:
            coefficients = zero_weight(self, "rating", [3, dim])
            parts.append(RatingInput("rating", coefficients, inputs.rating_mean, inputs.rating_std))
        if inputs.clock:
            parts.append(GapInput("timestamp", zero_weight(self, "gap", [GAP_BUCKETS, dim])))
        return parts

    def _make_request_inputs(self, query_mask: PositionMask) -> list[FeatureInput]:
        """The inputs of a request other than its time. The query's weight is created first, its vector added last."""
        inputs, dim = self.inputs, self.config.dim
        query: list[FeatureInput] = []
        if inputs.query_width:
            assert self.whitening is not None
            projection = normal_weight(self, self._stream, "query", [self.whitening.dim, dim])
            query.append(TextInput("query", projection, self.whitening, query_mask))
        sizes = {f"context_{name}": size for name, size in inputs.context.items()}
        sizes |= {f"profile_{name}": size for name, size in inputs.profile.items()}
        columns = [
            EmbeddingInput(name, normal_weight(self, self._stream, name, [size, dim])) for name, size in sizes.items()
        ]
        return [*columns, *query]

    def call(self, features: Features, item_vectors: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Vectors at all positions: output p stands for the user just before event p.

        Args:
          features: see the class.
          item_vectors: float32 [n + 1, dim], row 0 the unknown item.

        Returns:
          float32 [B, P, dim].
        """
        history = {name: features[name][:, :-1] for name in self._history_features()}
        vectors = self._encode_history(history, item_vectors, training)  # [B, P, dim]
        positions = tf.shape(features["item_index"])[1]
        request = {}
        for name in self._request_features():
            value = features[name]
            if name.startswith("profile_") and value.shape.rank == 1:
                value = tf.repeat(value[:, tf.newaxis], positions, axis=1)
            request[name] = value
        if self._request_time is not None:
            request["last_timestamp"] = _shifted(history["timestamp"])
        return self._fuse(vectors, request, training)

    def encode(self, features: Features, item_vectors: tf.Tensor) -> tf.Tensor:
        """The vector of each request, from the last `max_history` events and the request's own features.

        Args:
          features: see the class.
          item_vectors: float32 [n + 1, dim], row 0 the unknown item.

        Returns:
          float32 [B, dim].
        """
        history, length = self._last_events(features)
        vectors = self._encode_history(history, item_vectors, training=False)  # [B, H + 1, dim]
        request = {name: features[name] for name in self._request_features()}
        if self._request_time is not None:
            request["last_timestamp"] = tf.gather(_shifted(history["timestamp"]), length, axis=1, batch_dims=1)
        return self._fuse(tf.gather(vectors, length, axis=1, batch_dims=1), request, training=False)

    def _last_events(self, features: Features) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """The last `max_history` events of each row, moved to its start, and their number int32 [B]."""
        width = tf.shape(features["item_index"])[1]
        max_events = tf.minimum(width, self.config.max_history)
        length = tf.clip_by_value(tf.cast(features["length"], tf.int32), 0, width)
        first = tf.maximum(length - max_events, 0)
        # [B, H]; first + max_events <= width, so every position is in the row.
        position = first[:, tf.newaxis] + tf.range(max_events)
        history = {name: tf.gather(features[name], position, axis=1, batch_dims=1) for name in self._history_features()}
        return history, length - first

    def _history_features(self) -> list[str]:
        """Keys of the features of events."""
        return ["item_index", *(part.feature for part in self._event_inputs)]

    def _request_features(self) -> list[str]:
        """Keys of the features of requests."""
        names = [part.feature for part in self._request_inputs]
        return names if self._request_time is None else [*names, "request_timestamp"]

    def _encode_history(self, history: Features, item_vectors: tf.Tensor, training: bool) -> tf.Tensor:
        """The transformer's outputs before, between and after the events: [B, P] features -> [B, P + 1, dim]."""
        events = self._event_vectors(history, item_vectors, training)  # [B, P, dim]
        start = tf.tile(self.start[tf.newaxis, tf.newaxis], [tf.shape(events)[0], 1, 1])
        x = tf.concat([start, events], axis=1)
        return self.transformer(self.dropout(x, training=training), training=training)

    def _event_vectors(self, history: Features, item_vectors: tf.Tensor, training: bool) -> tf.Tensor:
        x = tf.gather(item_vectors, history["item_index"]) * self.item_scale
        if self.inputs.periods:
            x += period_vectors(self.event_period, self.inputs.periods, history["timestamp"])
        if self._event_inputs:
            beside_item = sum_inputs(self._event_inputs, history, training)
            if training:
                beside_item *= self._event_mask(tf.shape(history["item_index"]))[..., tf.newaxis]
            x += beside_item
        return x

    def _fuse(self, vectors: tf.Tensor, request: Features, training: bool) -> tf.Tensor:
        """Adds the request's features to the history's vectors [..., dim]."""
        if self._request_inputs:
            summed = sum_inputs(self._request_inputs, request, training)
            hidden = tf.nn.gelu(self.fusion_hidden(tf.concat([vectors, summed], axis=-1)), approximate=True)
            vectors = vectors + summed + self.fusion_output(hidden)
        if self._request_time is not None:
            vectors += self._request_time(request["request_timestamp"], request["last_timestamp"], training)
        return comparable(vectors, self.config.similarity)


def _shifted(timestamps: tf.Tensor) -> tf.Tensor:
    """The time of the event before each position, 0 before the first: [B, P] -> [B, P + 1]."""
    return tf.pad(timestamps, [[0, 0], [1, 0]])
