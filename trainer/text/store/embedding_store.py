"""The store of what the encoder has encoded, kept from run to run.

It is content-addressed: a vector is found by the encoder's fingerprint and the text's key, so the next run
encodes only texts it has not seen. A shard is one `.npy` file of records, written aside and renamed, never changed
again; any number of processes may write at once.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from trainer.errors import TowersError
from trainer.files import atomic_file
from trainer.text.store.keys import KEY_BYTES, SortedKeys, sort_order


def _record(width: int) -> np.dtype:
    return np.dtype([("key", "u1", KEY_BYTES), ("check", "<u4"), ("vector", "<f2", width)])


def _check_values(keys: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """A checksum of each record: uint32 [n]."""
    words = np.concatenate([np.ascontiguousarray(keys).view("<u2"), np.ascontiguousarray(vectors).view("<u2")], axis=1)
    # Odd factors, so that no single changed bit and no exchange of two values goes unseen.
    factors = np.arange(words.shape[1], dtype=np.uint32) * 2654435762 + 2654435761
    return (words.astype(np.uint32) * factors).sum(axis=1, dtype=np.uint32)


class EmbeddingStore:
    """Vectors by key, of one encoder.

    Args:
      directory: the store; holds one directory per fingerprint.
      fingerprint: the encoder's.

    `lookup` sees what was there when the store was opened, what it appended itself, and, after `refresh`, what others
    appended.
    """

    def __init__(self, directory: str | Path, fingerprint: str) -> None:
        self.directory = Path(directory) / fingerprint
        self._shards: dict[str, tuple[SortedKeys, np.ndarray]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Opens the shards that were added since.

        Raises:
          TowersError: a shard is damaged.
        """
        for path in sorted(self.directory.glob("shard-*.npy")):
            if path.name not in self._shards:
                self._shards[path.name] = self._open(path)

    def __len__(self) -> int:
        """Number of records; a text that two processes encoded at once counts twice."""
        return sum(len(keys) for keys, _ in self._shards.values())

    def lookup(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Finds vectors.

        Args:
          keys: uint8 [n, 16].

        Returns:
          found, bool [n]; vectors, float16 [found.sum(), width], in the order of the keys found ([0, 0] if none is).

        Raises:
          TowersError: a shard is damaged.
        """
        found = np.zeros(len(keys), bool)
        pieces: list[tuple[np.ndarray, np.ndarray]] = []
        for name, (shard_keys, records) in self._shards.items():
            unknown = np.flatnonzero(~found)
            if not len(unknown):
                break
            rows = shard_keys.find(keys[unknown])
            hits = np.flatnonzero(rows >= 0)
            if not len(hits):
                continue
            record = records[rows[hits]]
            if np.any(record["check"] != _check_values(record["key"], record["vector"])):
                raise _damaged(self.directory / name, "a checksum does not match")
            found[unknown[hits]] = True
            pieces.append((unknown[hits], record["vector"]))
        if not pieces:
            return found, np.zeros([0, 0], np.float16)
        order = np.argsort(np.concatenate([places for places, _ in pieces]))
        return found, np.concatenate([vectors for _, vectors in pieces])[order]

    def append(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Adds a shard.

        Args:
          keys: uint8 [n, 16], distinct.
          vectors: [n, width], any float type; kept as float16.

        Raises:
          TowersError: it cannot be written (disk full, no permission).
        """
        if len(keys) != len(vectors):
            raise ValueError(f"`keys` and `vectors` should be of one length. Received: {len(keys)} and {len(vectors)}")
        if not len(keys):
            return
        order = sort_order(keys)
        records = np.empty(len(keys), _record(vectors.shape[1]))
        records["key"] = keys[order]
        records["vector"] = vectors[order]
        records["check"] = _check_values(records["key"], records["vector"])
        path = self.directory / f"shard-{uuid.uuid4().hex}.npy"
        with writable_file(path) as temporary:
            save_array(temporary, records)
        self._shards[path.name] = self._open(path)

    def _open(self, path: Path) -> tuple[SortedKeys, np.ndarray]:
        try:
            records = np.load(path, mmap_mode="r", allow_pickle=False)
            width = records.dtype["vector"].shape[0]
            if records.dtype != _record(width) or records.ndim != 1:
                raise ValueError(f"unknown layout {records.dtype}")
            return SortedKeys(records["key"]), records
        except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
            raise _damaged(path, str(error)) from None


def _damaged(path: Path, reason: str) -> TowersError:
    return TowersError(
        f"{path}: a shard of the text store is damaged ({reason}). Delete the file: its texts are encoded again."
    )


def save_array(path: Path, array: np.ndarray) -> None:
    """`np.save` under exactly that name."""
    with open(path, "wb") as file:
        np.save(file, array, allow_pickle=False)


@contextmanager
def writable_file(path: Path) -> Iterator[Path]:
    """`atomic_file`, whose errors say what to do.

    Raises:
      TowersError: the disk is full or forbidden.
    """
    try:
        with atomic_file(path) as temporary:
            yield temporary
    except OSError as error:
        raise TowersError(
            f"{path}: cannot be written ({error.strerror}). Free space or choose another place."
        ) from None
