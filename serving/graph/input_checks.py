"""Checks the shapes and values of a signature's inputs."""

from __future__ import annotations

import tensorflow as tf

from serving.graph.specs import Tensors

# Larger values could overflow in the models: scores would be NaN, or lists empty.
_MAX_VECTOR_LENGTH = 1.01  # of a text's vector: 1 plus the rounding error of half precision
_MAX_NUMBER = 1e12  # of a dense feature


def check_inputs(inputs: Tensors, rows: str) -> Tensors:
    """Returns the same inputs. Whoever reads these tensors gets their values only after all checks have passed.

    A failed check ends the call with INVALID_ARGUMENT; its message names the input.

    Args:
      inputs: of one signature, batch first. Inputs `history_*` should have as many columns as `history_item_id`.
      rows: name of an input with one dimension; its length is taken as the batch size.
    """
    checks = [*_shape_checks(inputs, rows), *_value_checks(inputs)]
    with tf.control_dependencies(checks):
        return {name: tf.identity(value) for name, value in inputs.items()}


def _shape_checks(inputs: Tensors, rows: str) -> list[tf.Operation]:
    batch = tf.shape(inputs[rows])[0]
    checks = []
    for name, value in inputs.items():
        if name.startswith("history_"):
            expected = [batch, tf.shape(inputs["history_item_id"])[1]]
            message = f"`{name}` should have the shape [batch of `{rows}`, events of `history_item_id`]"
            shape = tf.shape(value) if value.shape.rank == 2 else tf.shape(value)[:2]
            checks.append(tf.debugging.assert_equal(shape, expected, message))
        elif name != rows:
            message = f"`{name}` should have as many rows as `{rows}`"
            checks.append(tf.debugging.assert_equal(tf.shape(value)[0], batch, message))
    return checks


def _value_checks(inputs: Tensors) -> list[tf.Operation]:
    """Checks of values. Comparisons with NaN are false, so NaN fails each of these checks."""
    checks = []
    for name, value in inputs.items():
        if name.endswith("_embedding"):
            short = tf.reduce_all(tf.norm(value, axis=-1) <= _MAX_VECTOR_LENGTH)
            message = f"`{name}` should be finite vectors as `encode_text` gives them, none longer than 1"
            checks.append(tf.debugging.Assert(short, [f"{message}; zeros where there is none"]))
        elif name.startswith("dense_"):
            small = tf.reduce_all(tf.abs(value) <= _MAX_NUMBER)
            message = f"`{name}` should be finite, none beyond {_MAX_NUMBER:g}"
            checks.append(tf.debugging.Assert(small, [f"{message}; zeros where there is none"]))
    if "diversity" in inputs:
        diversity = inputs["diversity"]
        in_range = tf.reduce_all((diversity >= 0.0) & (diversity <= 1.0))
        checks.append(tf.debugging.Assert(in_range, ["`diversity` should be from 0 to 1. Received:", diversity]))
    return checks
