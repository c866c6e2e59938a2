"""Helpers for building TensorFlow graphs: functions traced once, and branches that are seldom taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

Result = TypeVar("Result")


class AnyShapeFunction:
    """A function compiled once for each set of argument names and ranks, whatever the tensors' sizes.

    `tf.function` traces anew for each combination of sizes until it gives up on them one by one; a trace costs seconds,
    and batches differ in users and in length.

    Args:
      function: takes tensors and dictionaries of tensors, returns tensors, without Python control flow on them.
      widths: position of an argument -> its static last dimension, where the function needs to know it.
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
    """A branch for `tf.cond` that stays one node of the graph, a call, until it is taken.

    TensorFlow writes the ops of both branches into the graph. Those of the branch that is not taken are visited in
    every call all the same, to be told that they have nothing to do, and are optimised when the graph is first run.
    """
    return tf.function(branch, autograph=False, experimental_attributes={"_noinline": True})
