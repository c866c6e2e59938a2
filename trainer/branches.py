"""Branches of a graph that few requests take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tensorflow as tf

Result = TypeVar("Result")


def apart(branch: Callable[[], Result]) -> Callable[[], Result]:
    """A branch for `tf.cond` that stays one node of the graph, a call, until it is taken.

    TensorFlow writes the ops of both branches into the graph. Those of the branch that is not taken are visited in
    every call all the same, to be told that they have nothing to do, and are optimised when the graph is first run.
    """
    return tf.function(branch, autograph=False, experimental_attributes={"_noinline": True})
