"""Types and shapes of the inputs and outputs of signatures."""

from __future__ import annotations

import tensorflow as tf

Tensors = dict[str, tf.Tensor]
Specs = dict[str, tf.TensorSpec]

ONE, MANY = [None], [None, None]  # shapes: one value for each row, a list of values for each row
