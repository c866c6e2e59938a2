"""Keys of texts: 16-byte hashes of cleaned texts, under which their vectors are stored and looked up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

KEY_BYTES = 16


def text_key(text: str | bytes) -> bytes:
    """Key of a text that `trainer.text.cleaning.clean` has cleaned: its BLAKE2b hash, 16 bytes."""
    if isinstance(text, str):
        text = text.encode("utf-8")
    return hashlib.blake2b(text, digest_size=KEY_BYTES).digest()


def as_array(keys: Iterable[bytes]) -> np.ndarray:
    """Keys as uint8 [n, 16]."""
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)


def sort_order(keys: np.ndarray) -> np.ndarray:
    """Order that sorts keys as byte strings: uint8 [n, 16] -> int64 [n]."""
    high, low = _halves(keys)
    return np.lexsort((low, high))


class SortedKeys:
    """Binary search in sorted keys.

    Args:
      keys: uint8 [n, 16], sorted as byte strings and distinct; may be memory-mapped.

    Raises:
      ValueError: the keys are not sorted or not distinct.
    """

    def __init__(self, keys: np.ndarray) -> None:
        self._high, self._low = _halves(keys)
        high_rises = self._high[1:] > self._high[:-1]
        high_equal = self._high[1:] == self._high[:-1]
        if not np.all(high_rises | (high_equal & (self._low[1:] > self._low[:-1]))):
            raise ValueError("`keys` should be sorted and distinct")

    def __len__(self) -> int:
        return len(self._high)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Positions of keys among the sorted ones: uint8 [m, 16] -> int64 [m]; -1 for a key that is not there."""
        high, low = _halves(keys)
        positions = np.full(len(high), -1, np.int64)
        if not len(self):
            return positions
        candidates = np.searchsorted(self._high, high)  # the first key that may be equal, for each key
        pending = np.arange(len(high))
        # One round suffices, unless different keys have the same first 8 bytes.
        while len(pending):
            pending = pending[candidates[pending] < len(self)]
            pending = pending[self._high[candidates[pending]] == high[pending]]
            is_equal = self._low[candidates[pending]] == low[pending]
            positions[pending[is_equal]] = candidates[pending[is_equal]]
            pending = pending[~is_equal]
            candidates[pending] += 1
        return positions


def _halves(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last 8 bytes of each key as uint64, which sort in the order of the bytes."""
    if keys.ndim != 2 or keys.shape[1] != KEY_BYTES or keys.dtype != np.uint8:
        raise ValueError(f"`keys` should be uint8 [n, {KEY_BYTES}]. Received: {keys.dtype} {list(keys.shape)}")
    words = np.ascontiguousarray(keys).view(">u8").reshape(-1, 2)
    return words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)
