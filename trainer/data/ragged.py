"""Ragged arrays: variable-length lists in one flat array and its offsets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """Variable-length lists: list i is `values[offsets[i]:offsets[i + 1]]`."""

    values: np.ndarray  # int32 [total], ids; object (bytes) of names
    offsets: np.ndarray  # int64 [rows + 1]


def list_positions(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the values of some lists lie in the flat column, list after list, and the offsets of the result."""
    lengths = np.diff(offsets)[rows]
    taken = np.concatenate([[0], np.cumsum(lengths)])
    return np.arange(taken[-1]) + np.repeat(offsets[:-1][rows] - taken[:-1], lengths), taken
