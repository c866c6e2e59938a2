"""The tables that a model is trained on: items, users' sequences and text vectors as flat numpy arrays.

A user is one chronological sequence; `offsets` split the columns of events into users. An event takes some 30 bytes, so
a hundred million events fit into 3 GB. Training reads these arrays without any further parsing or hashing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from trainer.data.ragged import Ragged, list_positions, offsets_of

UNKNOWN_ITEM = 0  # index of an item outside the catalogue; the catalogue is 1..n
NO_TEXT = -1  # row of an empty text


@dataclass(frozen=True)
class ItemTable:
    """The catalogue. Row i holds the item with index i + 1; rows are sorted by item id (as UTF-8 bytes)."""

    item_id: np.ndarray  # object (str) [n]
    title: np.ndarray  # object (str) [n]
    text_row: np.ndarray  # int32 [n], a row of TextVectors.vectors or NO_TEXT
    train_count: np.ndarray  # int64 [n], events in the train split; popularity may be computed from nothing else
    occurs: np.ndarray  # bool [n], whether any split has an event with the item
    categorical: dict[str, np.ndarray] = field(default_factory=dict)  # int32 [n], 0 = missing or unknown
    multi_valued: dict[str, Ragged] = field(default_factory=dict)  # ids from 1; an empty list = missing
    bucketed: dict[str, np.ndarray] = field(default_factory=dict)  # int32 [n], quantile buckets from 1, 0 = missing
    dense: dict[str, np.ndarray] = field(default_factory=dict)  # float32 [n, width]
    sizes: dict[str, int] = field(default_factory=dict)  # feature -> number of ids, 0 included

    def __len__(self) -> int:
        return len(self.item_id)


@dataclass(frozen=True)
class SequenceTable:
    """Users' sequences in one split, oldest event first.

    In the train split every event is trained on. In validation and test the last `target_count[u]` events of user u are
    targets, which are predicted from the events before them.
    """

    user_id: np.ndarray  # object (str) [users]
    offsets: np.ndarray  # int64 [users + 1]
    target_count: np.ndarray  # int32 [users]
    item: np.ndarray  # int32 [events], item index
    timestamp: np.ndarray  # int64 [events], epoch seconds, or the order number
    event: np.ndarray | None = None  # int32 [events], 0 = missing or unknown
    rating: np.ndarray | None = None  # float32 [events], as in the data, NaN = missing
    text_row: np.ndarray | None = None  # int32 [events], row of the text that the user wrote, or NO_TEXT
    query_row: np.ndarray | None = None  # int32 [events], row of the query before the event, or NO_TEXT
    context: dict[str, np.ndarray] = field(default_factory=dict)  # int32 [events], 0 = missing or unknown
    profile: dict[str, np.ndarray] = field(default_factory=dict)  # int32 [users], 0 = missing or unknown
    sizes: dict[str, int] = field(default_factory=dict)  # 'event', 'context_x', 'profile_x' -> number of ids
    names: dict[str, list[str]] = field(default_factory=dict)  # 'context_x', 'profile_x' -> values, by id from 1
    rating_mean: float = 0.0  # of the train split
    rating_std: float = 1.0

    def __len__(self) -> int:
        return len(self.user_id)


@dataclass(frozen=True)
class TextVectors:
    """The embedding of every distinct text, with unit length."""

    vectors: np.ndarray  # float16 [texts, width]
    encoder: str  # name or directory, as `trainer.text.pretrained.load_encoder` takes it
    texts: np.ndarray | None = None  # object (bytes) [texts], cleaned; None unless the encoder is fine-tuned

    @property
    def width(self) -> int:
        return self.vectors.shape[1]


def everything_known(splits: Sequence[SequenceTable]) -> SequenceTable:
    """All users, each with the longest sequence in any split, without targets. Used to predict their next events.

    Args:
      splits: in chronological order. A user's sequence in a later split contains the one in an earlier split.
    """
    last: dict[str, tuple[int, int]] = {}
    for number, split in enumerate(splits):
        last.update((user_id, (number, row)) for row, user_id in enumerate(split.user_id))
    parts = []
    for number, split in enumerate(splits):
        rows = np.array([row for part, row in last.values() if part == number], np.int64)
        parts.append(take_users(split, rows))
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    user_id = np.concatenate([part.user_id for part in parts])

    def concatenate(name: str) -> np.ndarray | None:
        columns = [getattr(part, name) for part in parts]
        return None if columns[0] is None else np.concatenate(columns)

    def concatenate_each(name: str) -> dict[str, np.ndarray]:
        return {key: np.concatenate([getattr(part, name)[key] for part in parts]) for key in getattr(parts[0], name)}

    return replace(
        parts[0],
        user_id=user_id,
        offsets=offsets_of(lengths),
        target_count=np.zeros(len(user_id), np.int32),
        item=np.concatenate([part.item for part in parts]),
        timestamp=np.concatenate([part.timestamp for part in parts]),
        event=concatenate("event"),
        rating=concatenate("rating"),
        text_row=concatenate("text_row"),
        query_row=concatenate("query_row"),
        context=concatenate_each("context"),
        profile=concatenate_each("profile"),
    )


def with_newcomers(table: SequenceTable, user_ids: Sequence[str]) -> SequenceTable:
    """The table with more users at its end, who have no events and no profile."""
    count = len(user_ids)
    return replace(
        table,
        user_id=np.concatenate([table.user_id, np.array(user_ids, object)]),
        offsets=np.concatenate([table.offsets, np.full(count, table.offsets[-1])]),
        target_count=np.concatenate([table.target_count, np.zeros(count, np.int32)]),
        profile={name: np.concatenate([ids, np.zeros(count, np.int32)]) for name, ids in table.profile.items()},
    )


def take_users(table: SequenceTable, rows: np.ndarray) -> SequenceTable:
    """A table of the users in these rows, int64 [users], with all their events."""
    positions, offsets = list_positions(table.offsets, rows)

    def events(column: np.ndarray | None) -> np.ndarray | None:
        return None if column is None else column[positions]

    return replace(
        table,
        user_id=table.user_id[rows],
        offsets=offsets,
        target_count=table.target_count[rows],
        item=table.item[positions],
        timestamp=table.timestamp[positions],
        event=events(table.event),
        rating=events(table.rating),
        text_row=events(table.text_row),
        query_row=events(table.query_row),
        context={name: column[positions] for name, column in table.context.items()},
        profile={name: column[rows] for name, column in table.profile.items()},
    )
