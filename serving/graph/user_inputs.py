"""Turns the raw inputs that describe a user into features of the user tower.

A model has inputs only for what its tower reads: if it was trained without event texts, it has no input for them.
Clients pad rows with "" and 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from serving.graph.histories import Histories, last_events
from serving.graph.specs import MANY, ONE, Specs, Tensors
from trainer.config import Config
from trainer.data.tables import UNKNOWN_ITEM
from trainer.data.transform_graph import TransformGraph
from trainer.text.store.vectors import as_stored
from trainer.towers.inputs import UserInputs


class UserInputReader:
    """Makes the user tower's features from raw inputs.

    Args:
      config: the configuration.
      inputs: what the user tower reads.
      transform: the sequences' transform graph; needed if the tower reads event kinds, context or profile.
      encode_text: texts string [N] -> vectors float32 [N, width]; needed if the tower reads texts.

    Attributes:
      max_events: largest number of events of a history that are read: the last ones.
    """

    def __init__(
        self,
        config: Config,
        inputs: UserInputs,
        transform: TransformGraph | None,
        encode_text: Callable[[tf.Tensor], tf.Tensor] | None,
    ) -> None:
        self._config, self._inputs = config, inputs
        self._transform, self._encode_text = transform, encode_text
        self.max_events = min(config.serving.max_history, config.model.max_history)

    def specs(self, *, embedded: bool = False) -> Specs:
        """The inputs that describe a user.

        Args:
          embedded: vectors from the signature `encode_text` take the place of texts; zeros stand for no text.
        """
        inputs = self._inputs
        specs = {"user_id": tf.TensorSpec(ONE, tf.string), "history_item_id": tf.TensorSpec(MANY, tf.string)}
        if inputs.text_width and embedded:
            specs["history_text_embedding"] = tf.TensorSpec([*MANY, inputs.text_width], tf.float32)
        elif inputs.text_width:
            specs["history_text"] = tf.TensorSpec(MANY, tf.string)
        if inputs.events:
            specs["history_event"] = tf.TensorSpec(MANY, tf.string)
        if inputs.rating:
            specs["history_rating"] = tf.TensorSpec(MANY, tf.float32)
        if inputs.clock or self._config.data.exclude_recent_seconds:
            specs["history_timestamp"] = tf.TensorSpec(MANY, tf.int64)
            specs["timestamp"] = tf.TensorSpec(ONE, tf.int64)
        if inputs.query_width and embedded:
            specs["query_text_embedding"] = tf.TensorSpec([None, inputs.query_width], tf.float32)
        elif inputs.query_width:
            specs["query_text"] = tf.TensorSpec(ONE, tf.string)
        specs |= {f"context_{name}": tf.TensorSpec(ONE, tf.string) for name in inputs.context}
        for name in inputs.profile:
            specs[f"profile_{name}"] = tf.TensorSpec(ONE, tf.float32 if self._is_numeric(name) else tf.string)
        return specs

    def read(self, inputs: Tensors) -> Tensors:
        """The user tower's features of a request.

        Args:
          inputs: those in `specs`, and `history_item_index` int64 [B, H]; others are ignored.
        """
        histories = self._last_events(inputs, self.max_events)
        features = self._event_features(histories) | self._request_features(inputs)
        if "query_text_embedding" in inputs:
            features["query"] = as_stored(inputs["query_text_embedding"])
        return features | self._texts(histories, inputs.get("query_text"))

    def with_previous_event(self, inputs: Tensors, features: Tensors) -> tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Features of the events that the tower reads and, if the history is longer, of the event before them.

        Leave-one-out explanations need this previous event: if one of the events is left out of the history, the tower
        reads the previous event too.

        Args:
          inputs: `history_*`, as for `read`.
          features: the result of `read`; its texts are not encoded again.

        Returns:
          - Features of the events, [B, W, ...] each, and `length` [B].
          - int32 [B]: 1 if the first of the events is the previous event, else 0.
          - int32 [B, W]: the columns of the inputs that hold the events.
        """
        ids = inputs["history_item_id"]
        column = tf.broadcast_to(tf.range(tf.shape(ids)[1]), tf.shape(ids))
        histories = self._last_events({**inputs, "history_column": column}, self.max_events + 1)
        events = self._event_features(histories)
        has_previous = events["length"] > self.max_events  # [B]
        if "history_text" in inputs:
            previous = self._encode(tf.where(has_previous, histories.columns["history_text"][:, 0], ""))
            text = features["text"]  # [B, W or W - 1, width]
            longer = tf.concat([previous[:, tf.newaxis], text], axis=1)
            text = tf.where(has_previous[:, tf.newaxis, tf.newaxis], longer, tf.pad(text, [[0, 0], [0, 1], [0, 0]]))
            events["text"] = text[:, : tf.shape(histories.valid)[1]]
        return events, tf.cast(has_previous, tf.int32), histories.columns["history_column"]

    def _is_numeric(self, profile: str) -> bool:
        users = self._config.data.users
        return users is not None and profile in users.numeric

    def _encode(self, texts: tf.Tensor) -> tf.Tensor:
        assert self._encode_text is not None
        return as_stored(self._encode_text(texts))

    @staticmethod
    def _last_events(inputs: Tensors, max_events: int) -> Histories:
        columns = {name: value for name, value in inputs.items() if name.startswith("history_")}
        return last_events(columns, inputs["history_item_id"] != "", max_events)

    def _event_features(self, histories: Histories) -> Tensors:
        columns, valid = histories.columns, histories.valid  # [B, W] each
        item_index = tf.where(valid, tf.cast(columns["history_item_index"], tf.int32), UNKNOWN_ITEM)
        features = {"item_index": item_index, "length": histories.length}
        if self._inputs.events:
            flat = tf.reshape(columns["history_event"], [-1])
            assert self._transform is not None
            features["event"] = tf.reshape(self._transform.ids({"event": flat})["event"], tf.shape(valid))
        if self._inputs.rating:
            features["rating"] = self._ratings(columns["history_rating"], valid)
        if self._inputs.clock:
            features["timestamp"] = columns["history_timestamp"]
        if "history_text_embedding" in columns:
            features["text"] = tf.where(valid[..., tf.newaxis], as_stored(columns["history_text_embedding"]), 0.0)
        return features

    def _ratings(self, ratings: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """Ratings, with NaN for a missing rating, as in training.

        Clients send NaN or `missing_rating` for a missing rating, or 0 unless the training data has ratings of 0.
        """
        missing_values = [] if self._inputs.rating_zero else [0.0]
        if self._config.data.interactions.missing_rating is not None:
            missing_values.append(self._config.data.interactions.missing_rating)
        present = valid
        for value in missing_values:
            present &= ratings != value
        return tf.where(present, ratings, np.nan)

    def _request_features(self, inputs: Tensors) -> Tensors:
        features = {}
        if self._inputs.clock:
            features["request_timestamp"] = inputs["timestamp"]
        raw = {name: value for name, value in inputs.items() if name.startswith(("context_", "profile_"))}
        if raw:
            assert self._transform is not None
            features |= self._transform.ids(raw)
        return features

    def _texts(self, histories: Histories, query: tf.Tensor | None) -> Tensors:
        """Vectors of the events' texts and of the query, encoded in one call: a repeated text is encoded once."""
        flat = []
        if "history_text" in histories.columns:
            texts = tf.where(histories.valid, histories.columns["history_text"], "")  # [B, W]
            flat.append(tf.reshape(texts, [-1]))
        if query is not None:
            flat.append(query)
        if not flat:
            return {}
        vectors = self._encode(tf.concat(flat, axis=0))
        parts = tf.split(vectors, [tf.size(part) for part in flat], num=len(flat))
        features = {}
        if "history_text" in histories.columns:
            shape = tf.concat([tf.shape(histories.valid), [self._inputs.text_width]], axis=0)
            features["text"] = tf.reshape(parts[0], shape)
        if query is not None:
            features["query"] = tf.ensure_shape(parts[-1], [None, self._inputs.query_width])
        return features
