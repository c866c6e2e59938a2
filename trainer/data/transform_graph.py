"""The Transform step's graph as a function, for inputs of the exported model.

Training data and requests pass through the same graph, so that they cannot be transformed differently.
"""

from __future__ import annotations

import os

import tensorflow as tf
import tensorflow_text  # noqa: F401  (registers the ops that text cleaning needs)

SAVED_MODEL = "transform_fn"  # directory of the SavedModel in a transform graph artifact


class TransformGraph(tf.Module):
    """A transform graph as a function of dense tensors.

    Args:
      directory: the transform graph artifact (holds `transform_fn/`).
    """

    def __init__(self, directory: str):
        super().__init__(name="transform_graph")
        # A TF2 SavedModel with one function, `transform_fn`. As it is an attribute, exports include its vocabularies.
        self._saved = tf.saved_model.load(os.path.join(directory, SAVED_MODEL))
        function = self._saved.transform_fn
        if hasattr(function, "concrete_functions"):
            (function,) = function.concrete_functions
        self._function = function
        (self._signature,) = function.structured_input_signature[0]

    @property
    def inputs(self) -> list[str]:
        """Names of the raw features that the graph reads."""
        return sorted(self._signature)

    def __call__(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Transforms features with one value in each row.

        Args:
          raw: feature -> [N] values. Features of the graph that are left out are fed with empty values.

        Returns:
          feature -> [N] transformed values, for the features in `raw`.

        Raises:
          ValueError: a feature is not one of the graph's.
        """
        unknown = sorted(set(raw) - set(self._signature))
        if unknown:
            raise ValueError(f"`raw` should hold features of the graph, {self.inputs}. Received also: {unknown}")
        rows = tf.shape(next(iter(raw.values())))[0]
        feeds = {name: _feed(spec, raw.get(name), rows) for name, spec in self._signature.items()}
        outputs = self._function(**feeds) if not self._function.structured_input_signature[0] else self._function(feeds)
        return {name: _flat(outputs[name]) for name in raw}

    def ids(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Transforms features that become ids.

        Args:
          raw: feature -> [N] values; NaN is a missing number.

        Returns:
          feature -> int32 [N] ids, 0 for a missing number.

        Raises:
          ValueError: a feature is not one of the graph's.
        """
        ids = {name: tf.cast(values, tf.int32) for name, values in self(raw).items()}
        numbers = {name: values for name, values in raw.items() if values.dtype.is_floating}
        return ids | {name: tf.where(tf.math.is_nan(values), 0, ids[name]) for name, values in numbers.items()}


def _feed(spec: tf.TypeSpec, values: tf.Tensor | None, rows: tf.Tensor) -> tf.Tensor | tf.RaggedTensor:
    """An input of the graph, made from [N] values; an empty input if `values` is None."""
    if isinstance(spec, tf.RaggedTensorSpec):
        # Row splits made here need no validation, whose ops would be more than half of the exported graph.
        if values is None:
            splits = tf.zeros([rows + 1], spec.row_splits_dtype)
            return tf.RaggedTensor.from_row_splits(tf.zeros([0], spec.dtype), splits, validate=False)
        splits = tf.range(tf.cast(rows, spec.row_splits_dtype) + 1)
        return tf.RaggedTensor.from_row_splits(values, splits, validate=False)
    if values is None:
        values = tf.fill([rows], "") if spec.dtype == tf.string else tf.zeros([rows], spec.dtype)
    return values[:, None]


def _flat(value: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
    return value.flat_values if isinstance(value, tf.RaggedTensor) else tf.reshape(value, [-1])
