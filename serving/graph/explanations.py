"""Which past event speaks most for an item: leave one out, exactly."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from serving.graph.user_inputs import Tensors, UserInputReader
from trainer.explanations.leave_one_out import most_influential_events


def influential_history_columns(
    encode: Callable[[Tensors], tf.Tensor],
    reader: UserInputReader,
    inputs: Tensors,
    features: Tensors,
    vectors: tf.Tensor,
    scores: tf.Tensor,
) -> tf.Tensor:
    """Columns of a request's history whose events speak most for items.

    Args:
      encode: the user tower, features of [B] requests -> float32 [B, dim].
      reader: what made `features` of `inputs`.
      inputs: `history_*` of the request, with `history_item_index`.
      features: of the request.
      vectors: float32 [B, K, dim] of the items.
      scores: float32 [B, K], their retrieval scores; -inf for none.

    Returns:
      int32 [B, K], -1 where no event's absence lowers the score.
    """
    events, first, columns = reader.with_one_more_event(inputs, features)
    request = {name: value for name, value in features.items() if name not in events}
    length = events.pop("length")
    place = most_influential_events(encode, events, request, length, first, vectors, scores)
    return tf.where(place >= 0, tf.gather(columns, tf.maximum(place, 0), batch_dims=1), -1)
