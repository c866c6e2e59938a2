"""Ragged arrays: variable-length lists in one flat array and its offsets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """Variable-length lists: list i is `values[offsets[i]:offsets[i + 1]]`."""

    values: np.ndarray  # [total]; int32 for ids, object (bytes) for names
    offsets: np.ndarray  # int64 [rows + 1]


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """The offsets of lists of these lengths: int64 [rows + 1], beginning with 0."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def ranges(start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat positions of start[i]..stop[i] one after another, and i for each: (int64 [total], int64 [total]).

    A range is empty where stop[i] is not after start[i].
    """
    lengths = np.maximum(np.asarray(stop) - start, 0)
    row = np.repeat(np.arange(len(lengths)), lengths)
    position_in_row = np.arange(len(row)) - offsets_of(lengths)[row]
    return np.asarray(start)[row] + position_in_row, row


def list_positions(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat positions of the values of the lists `rows`, list after list, and the offsets of the resulting lists.

    Args:
      offsets: int64 [lists + 1], the lists' offsets.
      rows: int64 [n], which lists, in the order of the result.

    Returns:
      (int64 [total], int64 [n + 1])
    """
    start, stop = offsets[:-1][rows], offsets[1:][rows]
    return ranges(start, stop)[0], offsets_of(stop - start)
