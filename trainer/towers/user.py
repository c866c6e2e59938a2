"""The user tower: a history of events, and what is known of a request -> one vector."""

from __future__ import annotations

import math
from collections.abc import Mapping

import tensorflow as tf

from trainer.config import ModelConfig
from trainer.towers.clock import GAP_BUCKETS, at_time, gap_bucket
from trainer.towers.dropout import Dropout, dropout_rate
from trainer.towers.inputs import UserInputs
from trainer.towers.item import INITIAL_STDDEV
from trainer.towers.transformer import CausalTransformer
from trainer.towers.whitening import Whitening
from trainer.training.precision import FLOAT32, Dense
from trainer.training.randomness import RandomStream

Features = Mapping[str, tf.Tensor]


class UserTower(tf.keras.layers.Layer):
    """A causal transformer over the history, its output fused with the request.

    Position p of the transformer's input is event p - 1 (position 0 a start token), so its output p has seen the
    events before p and nothing of event p. The request's features (query, context, profile, calendar time) join after
    the transformer: a query said with one event can not reach the prediction of another.

    What stands beside the items (an event's text, kind, rating and gap; the query; the request's time) is now and then
    hidden in training: it may be missing later, and the items have to speak for themselves.

    Feature dictionary, `call` (every position of a sequence of P events) and `encode` (one request after H events):

    | key | `encode` | `call` |
    |---|---|---|
    | `item_index` int32, 0 = unknown or padding | [B, H] | [B, P] |
    | `length` int32, events in the row | [B] | not read |
    | `text` float32, what the user wrote with the event, zeros = nothing | [B, H, width] | [B, P, width] |
    | `event` int32, `rating` float32 raw and NaN = none, `timestamp` int64 | [B, H] | [B, P] |
    | `query` float32, zeros = nothing | [B, width] | [B, P, width] |
    | `request_timestamp` int64, 0 = not given | [B] | [B, P] |
    | `context_<name>` int32 | [B] | [B, P] |
    | `profile_<name>` int32 | [B] | [B] or [B, P] |

    Rows are padded on the right, oldest event first. Inputs that the tower was not built with are not looked up.

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
        self._query_place, self._clock_place, self._beside_place = stream.place(), stream.place(), stream.place()
        dim = config.dim

        def normal(shape: list[int], name: str, stddev: float = INITIAL_STDDEV) -> tf.Variable:
            seed = stream.initializer_seed()
            return self.add_weight(
                name=name, shape=shape, initializer=tf.keras.initializers.RandomNormal(0.0, stddev, seed)
            )

        def zeros(shape: list[int], name: str) -> tf.Variable:
            # What comes beside the item has no effect before it has learnt one, so that little data is not drowned.
            return self.add_weight(name=name, shape=shape, initializer="zeros")

        # Item vectors start near length INITIAL_STDDEV * sqrt(dim) (1 for cosine); the transformer wants unit variance.
        scale = math.sqrt(dim)
        self.item_scale = self.add_weight(
            name="item_scale", shape=[], initializer=tf.keras.initializers.Constant(scale)
        )
        self.start = normal([dim], "start", 1.0 if config.similarity == "cosine" else INITIAL_STDDEV * scale)
        if inputs.text_width or inputs.query_width:
            self.whitening = Whitening(inputs.text_width or inputs.query_width, config.text_dim)
        if inputs.text_width:
            self.text = zeros([self.whitening.dim, dim], "text")
        if inputs.events:
            self.event = zeros([inputs.events, dim], "event")
        if inputs.rating:
            self.rating = zeros([3, dim], "rating")  # slope, curvature, "is rated"
        if inputs.clock:
            self.gap = zeros([GAP_BUCKETS, dim], "gap")
        if inputs.periods:
            self.event_period = zeros([len(inputs.periods), dim], "event_period")
            self.request_period = zeros([len(inputs.periods), dim], "request_period")
        if inputs.query_width:
            self.query = normal([self.whitening.dim, dim], "query")
        self.request_embeddings = {
            name: normal([size, dim], name)
            for prefix, sizes in (("context", inputs.context), ("profile", inputs.profile))
            for name, size in ((f"{prefix}_{column}", size) for column, size in sizes.items())
        }
        rate = dropout_rate(config.dropout, inputs.train_events)
        self.dropout = Dropout(rate, stream, name="dropout")
        self.period_dropout = Dropout(rate, stream, name="period_dropout")
        self.transformer = CausalTransformer(
            dim, config.layers, config.heads, config.max_history + 1, rate, stream, products
        )
        self.transformer.build([None, None, dim])
        self.transformer(tf.zeros([1, 1, dim]))  # creates the weights of the blocks
        if inputs.request:
            self.fusion_hidden = Dense(
                2 * dim,
                products,
                kernel_initializer=tf.keras.initializers.GlorotUniform(stream.initializer_seed()),
                name="fusion_hidden",
            )
            # Starts at zero: before anything is learnt, the request leaves the history's vector alone.
            self.fusion_output = Dense(dim, products, kernel_initializer="zeros", name="fusion_output")
            self.fusion_hidden.build([None, 2 * dim])
            self.fusion_output.build([None, 2 * dim])

    def call(self, features: Features, item_vectors: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Vectors at all positions: output p stands for the user just before event p.

        Args:
          features: see the class.
          item_vectors: float32 [n + 1, dim], row 0 the unknown item.

        Returns:
          float32 [B, P, dim].
        """
        before = {name: features[name][:, :-1] for name in self._history_names()}
        events = self._events(before, item_vectors, training)  # [B, P - 1, dim]
        outputs = self._transform(events, training)
        positions = tf.shape(features["item_index"])[1]
        request = {}
        for name in self._request_names():
            value = features[name]
            if name.startswith("profile_") and value.shape.rank == 1:
                value = tf.repeat(value[:, tf.newaxis], positions, axis=1)
            request[name] = value
        if self.inputs.periods:
            request["last_timestamp"] = tf.pad(features["timestamp"][:, :-1], [[0, 0], [1, 0]])
        return self._fuse(outputs, request, training)

    def encode(self, features: Features, item_vectors: tf.Tensor) -> tf.Tensor:
        """The vector of each request: the last `max_history` events and the request's own features.

        Args:
          features: see the class.
          item_vectors: float32 [n + 1, dim], row 0 the unknown item.

        Returns:
          float32 [B, dim].
        """
        history, length = self._cut(features)
        events = self._events(history, item_vectors, training=False)  # [B, H, dim]
        outputs = self._transform(events, training=False)  # [B, H + 1, dim]
        last = tf.gather(outputs, length, axis=1, batch_dims=1)  # [B, dim]
        request = {name: features[name] for name in self._request_names()}
        if self.inputs.periods:
            padded = tf.pad(history["timestamp"], [[0, 0], [1, 0]])
            request["last_timestamp"] = tf.gather(padded, length, axis=1, batch_dims=1)
        return self._fuse(last, request, training=False)

    def _cut(self, features: Features) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """The last `max_history` valid events of each row, moved to its start."""
        width = tf.shape(features["item_index"])[1]
        kept = tf.minimum(width, self.config.max_history)
        length = tf.clip_by_value(tf.cast(features["length"], tf.int32), 0, width)
        first = tf.maximum(length - kept, 0)
        place = first[:, tf.newaxis] + tf.range(kept)  # [B, H]; first + kept <= width, so it is always in the row
        history = {name: tf.gather(features[name], place, axis=1, batch_dims=1) for name in self._history_names()}
        return history, length - first

    def _history_names(self) -> list[str]:
        """What is read of each event, keys of the feature dictionary."""
        inputs = self.inputs
        read = {
            "item_index": True,
            "text": inputs.text_width > 0,
            "event": inputs.events > 0,
            "rating": inputs.rating,
            "timestamp": inputs.clock,
        }
        return [name for name, wanted in read.items() if wanted]

    def _request_names(self) -> list[str]:
        names = list(self.request_embeddings)
        if self.inputs.query_width:
            names.append("query")
        if self.inputs.periods:
            names.append("request_timestamp")
        return names

    def _events(self, features: Features, item_vectors: tf.Tensor, training: bool) -> tf.Tensor:
        """What each event adds to the history, [B, P, dim]."""
        x = tf.gather(item_vectors, features["item_index"]) * self.item_scale
        if self.inputs.periods:
            x += at_time(self.event_period, self.inputs.periods, features["timestamp"])
        beside = self._beside(features)
        if beside:
            said = tf.add_n(beside)
            if training:
                said *= self._kept(tf.shape(features["item_index"]), self._beside_place)[..., tf.newaxis]
            x += said
        return x

    def _beside(self, features: Features) -> list[tf.Tensor]:
        """What is known of each event beside its item and its place in the calendar, each [B, P, dim]."""
        parts = []
        if self.inputs.text_width:
            parts.append(tf.tensordot(self.whitening(features["text"]), self.text, 1))
        if self.inputs.events:
            parts.append(tf.gather(self.event, features["event"]))
        if self.inputs.rating:
            rated = tf.math.is_finite(features["rating"])
            rating = tf.where(rated, (features["rating"] - self.inputs.rating_mean) / self.inputs.rating_std, 0.0)
            rating = tf.clip_by_value(rating, -4.0, 4.0)
            powers = tf.stack([rating, rating**2, tf.cast(rated, tf.float32)], axis=-1)
            parts.append(tf.tensordot(powers, self.rating, 1))
        if self.inputs.clock:
            stamps = features["timestamp"]
            earlier = tf.pad(stamps[:, :-1], [[0, 0], [1, 0]])[:, : tf.shape(stamps)[1]]
            parts.append(tf.gather(self.gap, gap_bucket(earlier, stamps)))
        return parts

    def _transform(self, events: tf.Tensor, training: bool) -> tf.Tensor:
        start = tf.tile(self.start[tf.newaxis, tf.newaxis], [tf.shape(events)[0], 1, 1])
        x = tf.concat([start, events], axis=1)
        return self.transformer(self.dropout(x, training=training), training=training)

    def _fuse(self, vectors: tf.Tensor, request: Features, training: bool) -> tf.Tensor:
        if self.inputs.request:
            parts = [tf.gather(table, request[name]) for name, table in self.request_embeddings.items()]
            if self.inputs.query_width:
                query = self.whitening(request["query"])
                if training:  # so that the user tower also works without what may not be said
                    query *= self._kept(tf.shape(query)[:-1], self._query_place)[..., tf.newaxis]
                parts.append(tf.tensordot(query, self.query, 1))
            said = tf.add_n(parts)
            hidden = tf.nn.gelu(self.fusion_hidden(tf.concat([vectors, said], axis=-1)), approximate=True)
            vectors = vectors + said + self.fusion_output(hidden)
        if self.inputs.periods:
            now = request["request_timestamp"]
            if training:
                now *= tf.cast(self._kept(tf.shape(now), self._clock_place), now.dtype)
            now = tf.where(now > 0, now, request["last_timestamp"])
            period = self.period_dropout(at_time(self.request_period, self.inputs.periods, now), training=training)
            # Item vectors are short beside the history's vector, which is normalised: this one has to keep up.
            vectors += period * math.sqrt(self.config.dim)
        return tf.math.l2_normalize(vectors, axis=-1) if self.config.similarity == "cosine" else vectors

    def _kept(self, shape: tf.Tensor, place: int) -> tf.Tensor:
        drawn = tf.random.stateless_uniform(shape, self._stream.seed(place))
        return tf.cast(drawn >= self.config.side_dropout, tf.float32)
