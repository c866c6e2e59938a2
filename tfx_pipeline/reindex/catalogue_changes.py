"""Compares a run's catalogue with an items table that was read later."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from tfx_pipeline.runs import ingested_examples

_EVENT_COUNTS = ("train_count", "occurs")  # features that ingestion computes from events, not from the item's row


@dataclass(frozen=True)
class Row:
    """An ingested item.

    Attributes:
      digest: of its content, to compare it by.
      empty: whether it has nothing but an id, such as an item that is in no items table.
      train_count: number of its train events.
      occurs: 1 if it occurs in any event, else 0.
    """

    digest: bytes
    empty: bool
    train_count: int
    occurs: int


@dataclass(frozen=True)
class Changes:
    """Changes of a catalogue.

    Attributes:
      new, removed, changed: item ids, sorted.
      same: number of the other items.
    """

    new: list[str]
    removed: list[str]
    changed: list[str]
    same: int


def read(items: str | os.PathLike[str]) -> dict[bytes, Row]:
    """Item id -> row of ingested items (a directory that holds `Split-all/`)."""
    rows = {}
    for example in ingested_examples.read(items, "all"):
        feature = example.features.feature
        train_count, occurs = (feature.pop(name).int64_list.value[0] for name in _EVENT_COUNTS)
        digest = hashlib.blake2b(example.SerializeToString(deterministic=True), digest_size=16).digest()
        item_id = feature.pop("item_id").bytes_list.value[0]
        empty = feature.pop("title").bytes_list.value[0] == item_id and not any(
            any(value.bytes_list.value) or len(value.float_list.value) for value in feature.values()
        )
        rows[item_id] = Row(digest, empty, train_count, occurs)
    return rows


def compare(before: dict[bytes, Row], after: dict[bytes, Row]) -> Changes:
    """The changes from one catalogue to another."""
    common = before.keys() & after.keys()
    changed = {item_id for item_id in common if before[item_id].digest != after[item_id].digest}

    def names(item_ids: set[bytes]) -> list[str]:
        return sorted(item_id.decode() for item_id in item_ids)

    new, removed = set(after.keys() - common), set(before.keys() - common)
    return Changes(names(new), names(removed), names(changed), len(common) - len(changed))
