"""Types of the inputs and outputs of signatures."""

from __future__ import annotations

import tensorflow as tf

Tensors = dict[str, tf.Tensor]
Specs = dict[str, tf.TensorSpec]

ONE, MANY = [None], [None, None]  # shapes: one value a row, a list of values a row
