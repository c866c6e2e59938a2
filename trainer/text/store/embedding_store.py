"""The store of text vectors, which later runs reuse.

It is content-addressed: a vector is stored under the encoder's fingerprint and the text's key, so that a run encodes
only texts that no earlier run has encoded. A shard is one `.npy` file of records. It is written under a temporary name,
renamed, and never changed again, so that any number of processes may write at once.
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


def _record_type(width: int) -> np.dtype:
    return np.dtype([("key", "u1", KEY_BYTES), ("check", "<u4"), ("vector", "<f2", width)])


def _checksums(keys: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Checksum of each record: uint32 [n]."""
    words = np.concatenate([np.ascontiguousarray(keys).view("<u2"), np.ascontiguousarray(vectors).view("<u2")], axis=1)
    # Factors are odd and distinct, so that a single changed bit or two exchanged values change the checksum.
    factors = np.arange(words.shape[1], dtype=np.uint32) * 2654435762 + 2654435761
    return (words.astype(np.uint32) * factors).sum(axis=1, dtype=np.uint32)


class EmbeddingStore:
    """Vectors of one encoder, by key.

    `lookup` reads the shards that existed when the store was opened and those that this object appended.

    Args:
      directory: the store; has a directory for each fingerprint.
      fingerprint: the encoder's.

    Raises:
      TowersError: a shard is damaged.
    """

    def __init__(self, directory: str | Path, fingerprint: str) -> None:
        self.directory = Path(directory) / fingerprint
        paths = sorted(self.directory.glob("shard-*.npy"))
        self._shards: dict[str, tuple[SortedKeys, np.ndarray]] = {path.name: _open_shard(path) for path in paths}

    def __len__(self) -> int:
        """Number of records; a text that two processes encoded at the same time counts twice."""
        return sum(len(keys) for keys, _ in self._shards.values())

    def lookup(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Looks up vectors.

        Args:
          keys: uint8 [n, 16].

        Returns:
          (bool [n], whether a key is in the store; float16 [hits, width], vectors of those that are, in the order of
          `keys`; [0, 0] if none is).

        Raises:
          TowersError: a shard is damaged.
        """
        is_stored = np.zeros(len(keys), bool)
        hits: list[tuple[np.ndarray, np.ndarray]] = []  # of each shard: positions in `keys`, vectors
        for name, (shard_keys, records) in self._shards.items():
            missing = np.flatnonzero(~is_stored)
            if not len(missing):
                break
            rows = shard_keys.find(keys[missing])
            positions, rows = missing[rows >= 0], rows[rows >= 0]
            if not len(rows):
                continue
            record = records[rows]
            if np.any(record["check"] != _checksums(record["key"], record["vector"])):
                raise _damaged(self.directory / name, "a checksum does not match")
            is_stored[positions] = True
            hits.append((positions, record["vector"]))
        if not hits:
            return is_stored, np.zeros([0, 0], np.float16)
        order = np.argsort(np.concatenate([positions for positions, _ in hits]))
        return is_stored, np.concatenate([vectors for _, vectors in hits])[order]

    def append(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Adds a shard.

        Args:
          keys: uint8 [n, 16], distinct.
          vectors: [n, width], any float type; stored as float16.

        Raises:
          TowersError: the shard cannot be written (disk full, no permission).
        """
        if len(keys) != len(vectors):
            raise ValueError(
                f"`keys` and `vectors` should have the same length. Received: {len(keys)} and {len(vectors)}"
            )
        if not len(keys):
            return
        order = sort_order(keys)
        records = np.empty(len(keys), _record_type(vectors.shape[1]))
        records["key"] = keys[order]
        records["vector"] = vectors[order]
        records["check"] = _checksums(records["key"], records["vector"])
        path = self.directory / f"shard-{uuid.uuid4().hex}.npy"
        with writable_file(path) as temporary:
            save_array(temporary, records)
        self._shards[path.name] = _open_shard(path)


def _open_shard(path: Path) -> tuple[SortedKeys, np.ndarray]:
    """Keys and records of a shard, mapped into memory."""
    try:
        records = np.load(path, mmap_mode="r", allow_pickle=False)
        width = records.dtype["vector"].shape[0]
        if records.dtype != _record_type(width) or records.ndim != 1:
            raise ValueError(f"unknown layout {records.dtype}")
        return SortedKeys(records["key"]), records
    except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, reason: str) -> TowersError:
    return TowersError(
        f"{path}: a shard of the text store is damaged ({reason}). Delete the file; its texts will be encoded again."
    )


def save_array(path: Path, array: np.ndarray) -> None:
    """`np.save` under exactly this name: no suffix is added."""
    with open(path, "wb") as file:
        np.save(file, array, allow_pickle=False)


@contextmanager
def writable_file(path: Path) -> Iterator[Path]:
    """`atomic_file` that raises a TowersError with a remedy.

    Raises:
      TowersError: the disk is full, or writing is not permitted.
    """
    try:
        with atomic_file(path) as temporary:
            yield temporary
    except OSError as error:
        raise TowersError(
            f"{path}: cannot be written ({error.strerror}). Free space or choose another place."
        ) from None
