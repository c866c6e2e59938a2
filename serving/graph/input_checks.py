"""What a signature's inputs must be beside their types: failures are INVALID_ARGUMENT and name the input."""

from __future__ import annotations

import tensorflow as tf

Tensors = dict[str, tf.Tensor]

# What is larger overflows within the models: to scores that are no numbers, or to an empty list.
_LONGEST_VECTOR = 1.01  # of a text; 1 and what a half-precision copy of it is off by
_LARGEST_NUMBER = 1e12  # of a dense feature


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
        if name.endswith("_embedding"):
            short = tf.reduce_all(tf.norm(value, axis=-1) <= _LONGEST_VECTOR)  # NaN is not
            message = f"`{name}` should be finite vectors as `encode_text` gives them, none longer than 1"
            checks.append(tf.debugging.Assert(short, [f"{message}; zeros where there is none"]))
        elif name.startswith("dense_"):
            small = tf.reduce_all(tf.abs(value) <= _LARGEST_NUMBER)
            message = f"`{name}` should be finite, none beyond {_LARGEST_NUMBER:g}"
            checks.append(tf.debugging.Assert(small, [f"{message}; zeros where there is none"]))
    if "diversity" in inputs:
        share = inputs["diversity"]
        within = tf.reduce_all((share >= 0.0) & (share <= 1.0))  # NaN is not
        checks.append(tf.debugging.Assert(within, ["`diversity` should be from 0 to 1. Received:", share]))
    with tf.control_dependencies(checks):
        return {name: tf.identity(value) for name, value in inputs.items()}
