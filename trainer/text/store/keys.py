"""Keys of texts: 16 bytes that stand for a cleaned text wherever its embedding is stored or looked up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

KEY_BYTES = 16


def text_key(text: str | bytes) -> bytes:
    """BLAKE2b of a text that `trainer.text.cleaning.clean` has cleaned; 16 bytes."""
    if isinstance(text, str):
        text = text.encode("utf-8")
    return hashlib.blake2b(text, digest_size=KEY_BYTES).digest()


def as_array(keys: Iterable[bytes]) -> np.ndarray:
    """Keys as uint8 [n, 16]."""
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)


def sort_order(keys: np.ndarray) -> np.ndarray:
    """int64 [n]: the order that sorts keys (uint8 [n, 16]) as byte strings."""
    high, low = _halves(keys)
    return np.lexsort((low, high))


class SortedKeys:
    """Binary search in sorted keys.

    Args:
      keys: uint8 [n, 16], sorted as byte strings, without repeats; may be memory-mapped.

    Raises:
      ValueError: the keys are not sorted or repeat.
    """

    def __init__(self, keys: np.ndarray) -> None:
        self._high, self._low = _halves(keys)
        rising = self._high[1:] > self._high[:-1]
        equal = self._high[1:] == self._high[:-1]
        if not np.all(rising | (equal & (self._low[1:] > self._low[:-1]))):
            raise ValueError("keys should be sorted and distinct")

    def __len__(self) -> int:
        return len(self._high)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """int64 [m]: the place of each of the given keys (uint8 [m, 16]), -1 where there is none."""
        high, low = _halves(keys)
        rows = np.full(len(high), -1, np.int64)
        if not len(self):
            return rows
        place = np.searchsorted(self._high, high)
        open_ = np.arange(len(high))
        # One round, unless two keys agree in their first 8 bytes.
        while len(open_):
            open_ = open_[place[open_] < len(self)]
            open_ = open_[self._high[place[open_]] == high[open_]]
            hit = self._low[place[open_]] == low[open_]
            rows[open_[hit]] = place[open_[hit]]
            open_ = open_[~hit]
            place[open_] += 1
        return rows


def _halves(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last 8 bytes of each key as uint64: integers that sort as the bytes do."""
    if keys.ndim != 2 or keys.shape[1] != KEY_BYTES or keys.dtype != np.uint8:
        raise ValueError(f"`keys` should be uint8 [n, {KEY_BYTES}]. Received: {keys.dtype} {list(keys.shape)}")
    words = np.ascontiguousarray(keys).view(">u8").reshape(-1, 2)
    return words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)
