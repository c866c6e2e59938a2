"""Helpers for building TensorFlow graphs: functions traced once for all shapes, and branches that are rarely taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

Result = TypeVar("Result")


class AnyShapeFunction:
    """A `tf.function` that is traced once for each combination of argument names and ranks, whatever the sizes.

    A plain `tf.function` is traced again for many combinations of sizes, which takes seconds each time. Batches differ
    in their number of users and in their lengths.

    Args:
      function: takes tensors and dictionaries of tensors, returns tensors, without Python control flow on them.
      widths: position of an argument -> its static last dimension, if the function needs it.
    """

    def __init__(self, function: Callable[..., Any], widths: dict[int, int] | None = None) -> None:
        self._function, self._widths = function, widths or {}
        self._graphs: dict[Any, Callable[..., Any]] = {}

    def __call__(self, *arguments: Any) -> Any:
        arguments = tf.nest.map_structure(tf.convert_to_tensor, arguments)
        key = tuple(tuple(sorted(part)) if isinstance(part, dict) else part.shape.rank for part in arguments)
        if key not in self._graphs:
            signature = []
            for i, part in enumerate(arguments):
                specs = tf.nest.map_structure(lambda x: tf.TensorSpec([None] * x.shape.rank, x.dtype), part)
                if i in self._widths:
                    specs = tf.TensorSpec([*specs.shape[:-1], self._widths[i]], specs.dtype)
                signature.append(specs)
            self._graphs[key] = tf.function(self._function, input_signature=signature, autograph=False)
        return self._graphs[key](*arguments)


def outlined_branch(branch: Callable[[], Result]) -> Callable[[], Result]:
    """Makes a branch of `tf.cond` a function call, which costs nothing unless the branch is taken.

    Otherwise TensorFlow inlines the ops of both branches into the graph. The ops of the branch that is not taken are
    then still scheduled in every call, and optimised when the graph is first run.
    """
    return tf.function(branch, autograph=False, experimental_attributes={"_noinline": True})
