"""What is different between a run's catalogue and an items table read later."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

import tensorflow as tf

_OF_EVENTS = ("train_count", "occurs")  # what ingestion knows of an item from its events, not from its row


@dataclass(frozen=True)
class Row:
    """An ingested item."""

    digest: bytes  # of what its row says
    empty: bool  # whether that is nothing but its id, as of an item that is in no items table
    train_count: int
    occurs: int


@dataclass(frozen=True)
class Changes:
    """Item ids, sorted."""

    new: list[str]
    removed: list[str]
    changed: list[str]
    same: int


def read(items: str) -> dict[bytes, Row]:
    """Item id -> row of ingested items (a directory that holds `Split-all/`)."""
    rows = {}
    files = sorted(tf.io.gfile.glob(os.path.join(items, "Split-all", "*.gz")))
    for record in tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator():
        example = tf.train.Example.FromString(record)
        feature = example.features.feature
        train_count, occurs = (feature.pop(name).int64_list.value[0] for name in _OF_EVENTS)
        digest = hashlib.blake2b(example.SerializeToString(deterministic=True), digest_size=16).digest()
        item_id = feature.pop("item_id").bytes_list.value[0]
        empty = feature.pop("title").bytes_list.value[0] == item_id and not any(
            any(value.bytes_list.value) or len(value.float_list.value) for value in feature.values()
        )
        rows[item_id] = Row(digest, empty, train_count, occurs)
    return rows


def compare(before: dict[bytes, Row], after: dict[bytes, Row]) -> Changes:
    """What became of the items of `before`, and which ones came."""
    both = before.keys() & after.keys()
    changed = {item_id for item_id in both if before[item_id].digest != after[item_id].digest}

    def names(item_ids: set[bytes]) -> list[str]:
        return sorted(item_id.decode() for item_id in item_ids)

    new, removed = set(after.keys() - both), set(before.keys() - both)
    return Changes(names(new), names(removed), names(changed), len(both) - len(changed))
