"""Rows on their way through Beam's shuffle, as compressed blocks of many.

Keyed one by one, rows cost more in coders than in parsing. So a reader groups its rows by shard first, and Beam groups
blocks by shard. A shard is small whatever the table's size: their number follows from the size of the files.
"""

from __future__ import annotations

import marshal
import zlib
from collections.abc import Iterable, Iterator

import pyarrow as pa

SHARD_BYTES = 16 << 20  # of rows as text; some 200,000 short events or 20,000 reviews
MOST_SHARDS = 10_000
_BLOCK_ROWS = 50_000  # buffered over all shards
_BLOCK_BYTES = 32 << 20  # of text, likewise
_MARSHAL_VERSION = 2  # without back references: quicker, and compression takes care of repeats
_SIZE_BYTES = 8


def shard_count(total_bytes: int) -> int:
    return max(1, min(MOST_SHARDS, -(-total_bytes // SHARD_BYTES)))


def shard_of(key: bytes, shards: int) -> int:
    """The same key goes to the same shard in every run and on every machine."""
    return zlib.crc32(key) % shards


def pack(tag: int, rows: list[tuple]) -> bytes:
    """A block of rows (tuples of bytes, numbers, None and lists of them) that are of the kind `tag`.

    Marshal, because it is by far the quickest; blocks live no longer than one pipeline run, in which all workers run
    the same Python.
    """
    plain = marshal.dumps(rows, _MARSHAL_VERSION)
    packed = pa.compress(plain, codec="zstd", asbytes=True)
    return bytes([tag]) + len(plain).to_bytes(_SIZE_BYTES, "little") + packed


def unpack(blocks: Iterable[bytes]) -> Iterator[tuple[int, list[tuple]]]:
    """The kind and rows of each block. Blocks come in any order."""
    for block in blocks:
        if not block:  # `tags.NO_BLOCK`
            continue
        size = int.from_bytes(block[1 : 1 + _SIZE_BYTES], "little")
        plain = pa.decompress(block[1 + _SIZE_BYTES :], decompressed_size=size, codec="zstd", asbytes=True)
        yield block[0], marshal.loads(plain)


class BlockBuffer:
    """Collects rows by shard and gives them out as blocks before they take much memory."""

    def __init__(self, tag: int, shards: int):
        self._tag = tag
        self._rows: list[list[tuple]] = [[] for _ in range(shards)]
        self._reset()

    def _reset(self) -> None:
        for rows in self._rows:
            rows.clear()
        self._count = self._bytes = 0

    def add(self, shard: int, row: tuple, text_bytes: int = 0) -> bool:
        """Returns whether it is time to `flush`."""
        self._rows[shard].append(row)
        self._count += 1
        self._bytes += text_bytes
        return self._count >= _BLOCK_ROWS or self._bytes >= _BLOCK_BYTES

    def flush(self) -> Iterator[tuple[int, bytes]]:
        """All (shard, block)s."""
        for shard, rows in enumerate(self._rows):
            if rows:
                yield shard, pack(self._tag, rows)
        self._reset()
