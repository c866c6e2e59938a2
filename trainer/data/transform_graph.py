"""The Transform step's graph, applied outside TFX: in the exported model, to what a client sends.

The graph is the very one the training data went through, so that nothing has to be kept equal by hand.
"""

from __future__ import annotations

import os

import tensorflow as tf
import tensorflow_text  # noqa: F401  (registers the ops that cleaning uses)


class TransformGraph(tf.Module):
    """A transform graph as a function of dense tensors.

    Args:
      directory: the transform graph artifact (holds `transform_fn/`).
    """

    def __init__(self, directory: str):
        super().__init__(name="transform_graph")
        # A TF2 SavedModel with the one function `transform_fn`; kept whole, so that its vocabularies are exported.
        self._saved = tf.saved_model.load(os.path.join(directory, "transform_fn"))
        function = self._saved.transform_fn
        if hasattr(function, "concrete_functions"):
            (function,) = function.concrete_functions
        self._function = function
        (self._signature,) = function.structured_input_signature[0]

    @property
    def inputs(self) -> list[str]:
        """Names of the raw features the graph takes."""
        return sorted(self._signature)

    def __call__(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Transforms one value per row and feature.

        Args:
          raw: feature -> [N] values; features that are left out are fed empty, and what comes of them is meaningless.

        Returns:
          feature -> [N] transformed values, for the features in `raw`.

        Raises:
          ValueError: a feature is not one of the graph's.
        """
        unknown = sorted(set(raw) - set(self._signature))
        if unknown:
            raise ValueError(f"`raw` should hold features of the graph, {self.inputs}. Received also: {unknown}")
        rows = tf.shape(next(iter(raw.values())))[0]
        feeds = {name: self._feed(spec, raw.get(name), rows) for name, spec in self._signature.items()}
        outputs = self._function(**feeds) if not self._function.structured_input_signature[0] else self._function(feeds)
        return {name: _flat(outputs[name]) for name in raw}

    def ids(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """As calling it, for features that become ids: int32 [N], 0 for a number that is not known (NaN)."""
        ids = {name: tf.cast(values, tf.int32) for name, values in self(raw).items()}
        numbers = {name: values for name, values in raw.items() if values.dtype.is_floating}
        return ids | {name: tf.where(tf.math.is_nan(values), 0, ids[name]) for name, values in numbers.items()}

    def _feed(self, spec: tf.TypeSpec, values: tf.Tensor | None, rows: tf.Tensor) -> tf.Tensor | tf.RaggedTensor:
        if isinstance(spec, tf.RaggedTensorSpec):
            # Splits made here need no check: checks would be more than half of the exported graph's ops.
            if values is None:
                nothing = tf.zeros([0], spec.dtype)
                return tf.RaggedTensor.from_row_splits(
                    nothing, tf.zeros([rows + 1], spec.row_splits_dtype), validate=False
                )
            each = tf.range(tf.cast(rows, spec.row_splits_dtype) + 1)
            return tf.RaggedTensor.from_row_splits(values, each, validate=False)
        if values is None:
            values = tf.fill([rows], "") if spec.dtype == tf.string else tf.zeros([rows], spec.dtype)
        return values[:, None]


def _flat(value: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
    return value.flat_values if isinstance(value, tf.RaggedTensor) else tf.reshape(value, [-1])
