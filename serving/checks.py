"""What a signature's inputs must be beside their types: failures are INVALID_ARGUMENT and name the input."""

from __future__ import annotations

import tensorflow as tf

Tensors = dict[str, tf.Tensor]


def checked(inputs: Tensors, rows: str) -> Tensors:
    """The same inputs, to be had only if they go together.

    Args:
      inputs: of one signature, batch first; those called `history_*` have as many columns as `history_item_id`.
      rows: name of the input, of one dimension, whose length is the batch's.
    """
    batch = tf.shape(inputs[rows])[0]
    checks = []
    for name, value in inputs.items():
        if name.startswith("history_"):
            shape = [batch, tf.shape(inputs["history_item_id"])[1]]
            message = f"`{name}` should have the shape [batch of `{rows}`, events of `history_item_id`]"
            given = tf.shape(value) if value.shape.rank == 2 else tf.shape(value)[:2]
            checks.append(tf.debugging.assert_equal(given, shape, message))
        elif name != rows:
            message = f"`{name}` should have as many rows as `{rows}`"
            checks.append(tf.debugging.assert_equal(tf.shape(value)[0], batch, message))
    for name, value in inputs.items():
        if name.endswith("_embedding") or name.startswith("dense_"):
            finite = tf.reduce_all(tf.math.is_finite(value))
            checks.append(tf.debugging.Assert(finite, [f"`{name}` should be finite, zeros where there is none"]))
    if "diversity" in inputs:
        share = inputs["diversity"]
        within = tf.reduce_all((share >= 0.0) & (share <= 1.0))  # NaN is not
        checks.append(tf.debugging.Assert(within, ["`diversity` should be from 0 to 1. Received:", share]))
    with tf.control_dependencies(checks):
        return {name: tf.identity(value) for name, value in inputs.items()}
