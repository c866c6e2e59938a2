"""Ragged arrays: positions and offsets."""

from __future__ import annotations

import numpy as np

from trainer.data.ragged import list_positions, offsets_of, ranges


def test_ranges_follow_one_another() -> None:
    positions, row = ranges(np.array([5, 2, 9, 0]), np.array([7, 2, 8, 3]))
    assert positions.tolist() == [5, 6, 0, 1, 2]
    assert row.tolist() == [0, 0, 3, 3, 3]


def test_no_ranges() -> None:
    positions, row = ranges(np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert (positions.dtype, row.dtype) == (np.int64, np.int64)
    assert (len(positions), len(row)) == (0, 0)


def test_offsets_of_lengths() -> None:
    assert offsets_of(np.array([2, 0, 3], np.int32)).tolist() == [0, 2, 2, 5]
    assert offsets_of(np.zeros(0, np.int32)).tolist() == [0]
    assert offsets_of(np.array([2], np.int32)).dtype == np.int64


def test_positions_of_lists_in_another_order() -> None:
    positions, offsets = list_positions(np.array([0, 2, 2, 5]), np.array([2, 1, 0, 2]))
    assert positions.tolist() == [2, 3, 4, 0, 1, 2, 3, 4]
    assert offsets.tolist() == [0, 3, 3, 5, 8]
