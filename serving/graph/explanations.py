"""Explains recommended items: finds the event of the history that raises an item's score most (leave-one-out)."""

from __future__ import annotations

import tensorflow as tf

from serving.graph.catalogue import Catalogue
from serving.graph.specs import Tensors
from serving.graph.user_encoder import UserEncoder
from serving.graph.user_inputs import UserInputReader
from trainer.explanations.leave_one_out import most_influential_events
from trainer.graphs import outlined_branch


class Explanations:
    """Explains items by events of the history.

    Args:
      encoder: encodes users.
      reader: makes the features that `encoder` reads.
      catalogue: the items.
    """

    def __init__(self, encoder: UserEncoder, reader: UserInputReader, catalogue: Catalogue) -> None:
        self._encoder, self._reader, self._catalogue = encoder, reader, catalogue

    def influential_history_columns(
        self, inputs: Tensors, features: Tensors, items: tf.Tensor, scores: tf.Tensor, explain: tf.Tensor
    ) -> tf.Tensor:
        """Columns of the history whose events raise the retrieval scores of items most.

        Args:
          inputs: of the request; only `history_*` are read.
          features: the user tower's features, made from the inputs.
          items: int32 [B, K].
          scores: float32 [B, K], retrieval scores of the items; -inf where there is no item.
          explain: bool [B]; rows with False cost nothing.

        Returns:
          int32 [B, K]; -1 if no event, when left out, lowers the score, and in rows where `explain` is False.
        """
        none = tf.fill(tf.shape(items), -1)

        def explained() -> tf.Tensor:
            rows = tf.where(explain)  # [R, 1]

            def select(value: tf.Tensor) -> tf.Tensor:
                return tf.gather(value, rows[:, 0])

            history = {name: select(value) for name, value in inputs.items() if name.startswith("history_")}
            columns = self._columns(
                history,
                {name: select(value) for name, value in features.items()},
                self._catalogue.vectors(select(items)),
                select(scores),
            )
            return tf.tensor_scatter_nd_update(none, rows, columns)

        return tf.ensure_shape(tf.cond(tf.reduce_any(explain), outlined_branch(explained), lambda: none), items.shape)

    def _columns(self, history: Tensors, features: Tensors, vectors: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        """As `influential_history_columns`, for R rows that all ask for it, given the items' `vectors` [R, K, dim]."""
        history["history_item_index"] = self._catalogue.indices(history["history_item_id"])
        events, first, columns = self._reader.with_previous_event(history, features)
        request = {name: value for name, value in features.items() if name not in events}
        length = events.pop("length")
        encode = self._encoder.encode_features
        position = most_influential_events(encode, events, request, length, first, vectors, scores)
        return tf.where(position >= 0, tf.gather(columns, tf.maximum(position, 0), batch_dims=1), -1)
