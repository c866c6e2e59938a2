"""Blocks: many rows compressed into one element of Beam's shuffle.

Shuffled one by one, rows cost more in coders than in parsing. A reader therefore groups its rows by shard, and Beam
groups blocks by shard.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Iterator

import pyarrow as pa

# Kinds of rows. Blocks of different kinds are grouped by one shuffle.
INTERACTIONS = 0
USERS = 1
ITEMS = 2
ITEM_COUNTS = 3
QUARANTINED_ROWS = 4

EMPTY_BLOCK = b""  # has no rows; added to each shard, so that shards without rows exist too
_MAX_BUFFERED_ROWS = 50_000  # in all shards together
_MAX_BUFFERED_BYTES = 32 << 20  # of text, likewise
_MARSHAL_VERSION = 2  # without back references: faster, and the compression takes care of repeats
_SIZE_BYTES = 8


def pack(kind: int, rows: list[tuple]) -> bytes:
    """A block of rows of one kind: tuples of bytes, numbers, None and lists of them.

    Marshal is by far the fastest format. It may depend on the version of Python; that is no harm, because blocks live
    no longer than a pipeline run, in which all workers run the same Python.
    """
    plain = marshal.dumps(rows, _MARSHAL_VERSION)
    packed = pa.compress(plain, codec="zstd", asbytes=True)
    return bytes([kind]) + len(plain).to_bytes(_SIZE_BYTES, "little") + packed


def unpack(blocks: Iterable[bytes]) -> Iterator[tuple[int, list[tuple]]]:
    """The kind and the rows of each block. The order of blocks is arbitrary."""
    for block in blocks:
        if not block:
            continue
        size = int.from_bytes(block[1 : 1 + _SIZE_BYTES], "little")
        plain = pa.decompress(block[1 + _SIZE_BYTES :], decompressed_size=size, codec="zstd", asbytes=True)
        yield block[0], marshal.loads(plain)


class BlockBuffer:
    """Collects rows by shard, to be packed before they take much memory."""

    def __init__(self, kind: int, shards: int):
        self._kind = kind
        self._rows: list[list[tuple]] = [[] for _ in range(shards)]
        self._reset()

    def _reset(self) -> None:
        for rows in self._rows:
            rows.clear()
        self._row_count = self._text_bytes = 0

    def add(self, shard: int, row: tuple, text_bytes: int = 0) -> bool:
        """Adds a row that holds about `text_bytes` bytes of text. Returns whether the buffer is full."""
        self._rows[shard].append(row)
        self._row_count += 1
        self._text_bytes += text_bytes
        return self._row_count >= _MAX_BUFFERED_ROWS or self._text_bytes >= _MAX_BUFFERED_BYTES

    def flush(self) -> Iterator[tuple[int, bytes]]:
        """Empties the buffer: (shard, block) for each shard that has rows."""
        for shard, rows in enumerate(self._rows):
            if rows:
                yield shard, pack(self._kind, rows)
        self._reset()
