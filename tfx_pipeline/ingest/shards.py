"""Division of records into shards, by their id."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfx_pipeline.ingest.files import SourceFile

SHARD_BYTES = 16 << 20  # of rows as text; some 200,000 short events or 20,000 reviews
_MAX_SHARDS = 10_000


def shard_count(total_bytes: int) -> int:
    """Number of shards for that many bytes: a shard is small, whatever the size of the table."""
    return max(1, min(_MAX_SHARDS, -(-total_bytes // SHARD_BYTES)))


def shard_of(key: bytes, shards: int) -> int:
    """The same key belongs to the same shard in every run and on every machine."""
    return zlib.crc32(key) % shards


@dataclass(frozen=True)
class Shards:
    """Numbers of shards. Output files are numbered by shard, so these are also the numbers of files."""

    users: int
    items: int
    quarantine: int

    @classmethod
    def for_files(cls, source_files: Mapping[str, Sequence[SourceFile]]) -> Shards:
        """The numbers that suit the sizes of the tables' files."""
        sizes = {table: sum(file.expanded_size for file in files) for table, files in source_files.items()}
        interactions = sizes.get("interactions", 0)
        return cls(
            users=shard_count(interactions + sizes.get("users", 0)),
            # A user shard counts an item at most once, so a share of the interactions' size bounds the item counts.
            items=shard_count(sizes.get("items", 0) + interactions // 8),
            quarantine=shard_count(sum(sizes.values()) // 4),
        )
