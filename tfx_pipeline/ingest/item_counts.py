"""How many events each item has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from tfx_pipeline.ingest.blocks import ITEM_COUNTS, BlockBuffer
from tfx_pipeline.ingest.shards import shard_of


class ItemCounts:
    """Numbers of events by item id: in the train split, and in all splits."""

    def __init__(self) -> None:
        self._counts: dict[bytes, list[int]] = defaultdict(lambda: [0, 0])

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def ids(self) -> set[bytes]:
        return set(self._counts)

    def get(self, item_id: bytes) -> tuple[int, int]:
        """(events in the train split, events in all splits); zeros for an unknown item."""
        train, total = self._counts.get(item_id, (0, 0))
        return train, total

    def add(self, item_id: bytes, train: int, total: int) -> None:
        count = self._counts[item_id]
        count[0] += train
        count[1] += total

    def add_sequence(self, item_ids: Sequence[bytes], train_length: int) -> None:
        """Adds a user's events, of which the first `train_length` are in the train split."""
        counts = self._counts
        for item_id in item_ids:
            counts[item_id][1] += 1
        for item_id in item_ids[:train_length]:
            counts[item_id][0] += 1

    def blocks(self, shards: int) -> Iterator[tuple[int, bytes]]:
        """(item shard, block) with a row (item id, train, total) for each item."""
        buffer = BlockBuffer(ITEM_COUNTS, shards)
        for item_id, (train, total) in self._counts.items():
            buffer.add(shard_of(item_id, shards), (item_id, train, total))
        return buffer.flush()
