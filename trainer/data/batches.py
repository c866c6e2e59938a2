"""Sequences -> padded batches, with nothing but numpy indexing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trainer.data.ragged import ranges
from trainer.data.tables import NO_TEXT, UNKNOWN_ITEM, SequenceTable
from trainer.training.batch import Batch

POOL = 32  # batches that are sorted by length together: little padding, and still a new mix of users every epoch


@dataclass(frozen=True)
class BatchColumns:
    """Which columns of a sequence table a batch has, besides the items."""

    text: bool = False  # what the user wrote with an event
    event: bool = False
    rating: bool = False
    timestamp: bool = False
    query: bool = False  # what the user asked before an event
    context: tuple[str, ...] = ()
    profile: tuple[str, ...] = ()


@dataclass(frozen=True)
class Windows:
    """Pieces of sequences, in flat event positions. Every event is a target in exactly one window."""

    user: np.ndarray  # int64 [windows]
    start: np.ndarray  # int64 [windows], first event
    stop: np.ndarray  # int64 [windows], one past the last event
    target_from: np.ndarray  # int64 [windows], first event that is a target

    def __len__(self) -> int:
        return len(self.user)


def training_windows(sequences: SequenceTable, max_history: int, overlap: float) -> Windows:
    """Cuts sequences into windows of at most `max_history` + 1 events.

    The last window ends with the last event, and is full; the ones before it step back by the share of a window that
    does not overlap. An event is a target of the window that gives it the most history.
    """
    width = max_history + 1
    stride = max(1, width - int(overlap * width))
    lengths = np.diff(sequences.offsets)
    counts = np.where(lengths > 0, 1 + np.ceil(np.maximum(lengths - width, 0) / stride).astype(np.int64), 0)
    number, user = ranges(np.zeros_like(counts), counts)  # windows of a user, numbered from 0
    back = counts[user] - 1 - number  # 0 for the last window
    begin, end = sequences.offsets[:-1][user], sequences.offsets[1:][user]
    stop = end - back * stride
    start = np.maximum(stop - width, begin)
    previous_stop = stop - stride  # where the window before this one ends, if there is one
    target_from = np.where(number == 0, begin, np.maximum(previous_stop, begin))
    return Windows(user, start, stop, target_from)


def sequences_per_batch(windows: Windows, sequences: int, events: int) -> int:
    """How many windows make a step: at most `sequences`, and on average at most `events` events, but one at least.

    Long sequences hold many events to learn from; with few of them a step, an epoch makes more steps.
    """
    mean = float((windows.stop - windows.start).mean()) if len(windows) else 1.0
    return max(1, min(sequences, round(events / mean)))


def training_batches(
    sequences: SequenceTable,
    columns: BatchColumns,
    windows: Windows,
    batch_size: int,
    seed: int,
    epoch: int,
    first: int = 0,
) -> Iterator[Batch]:
    """One epoch of all-positions batches, shuffled by (seed, epoch), from batch number `first` on.

    Yields:
      features of `UserTower.call` with `text_row`, `query_row` in place of vectors; `timestamp` int64 [B, P] in any
      case; and `target` int32 [B, P]: the item to predict at a position, 0 where there is nothing to learn.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(windows))
    lengths = windows.stop - windows.start
    batches = []
    for begin in range(0, len(order), batch_size * POOL):
        pool = order[begin : begin + batch_size * POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    for i in generator.permutation(len(batches))[first:]:
        rows = batches[i]
        start, stop = windows.start[rows], windows.stop[rows]
        place, valid = _grid(start, stop)
        batch = _history(sequences, columns, place, valid)
        batch["length"] = (stop - start).astype(np.int32)
        if "timestamp" not in batch:  # for the objective, if not for the tower
            batch["timestamp"] = _take(sequences.timestamp, place, valid, 0)
        learn = valid & (place >= windows.target_from[rows][:, np.newaxis])
        batch["target"] = np.where(learn, batch["item_index"], UNKNOWN_ITEM)
        batch |= _request(sequences, columns, windows.user[rows], place, valid)
        yield batch


def request_batches(
    sequences: SequenceTable,
    columns: BatchColumns,
    max_history: int,
    batch_size: int,
    *,
    with_query: bool,
    with_timestamp: bool,
    users: np.ndarray | None = None,
) -> Iterator[tuple[np.ndarray, Batch]]:
    """One request a user, made just before its targets (or after everything known, where there are none).

    Args:
      users: rows of `sequences`; all by default.
      with_query, with_timestamp: whether the request knows the first target's query and time.

    Yields:
      (int64 [B] rows of `sequences`, features of `UserTower.encode` with `text_row`, `query_row` in place of vectors).
    """
    users = np.arange(len(sequences)) if users is None else users
    stop = sequences.offsets[1:] - sequences.target_count
    for first in range(0, len(users), batch_size):
        rows = users[first : first + batch_size]
        start = np.maximum(sequences.offsets[rows], stop[rows] - max_history)
        yield (
            rows,
            request_batch(
                sequences, columns, rows, start, stop[rows], with_query=with_query, with_timestamp=with_timestamp
            ),
        )


def request_batch(
    sequences: SequenceTable,
    columns: BatchColumns,
    users: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    *,
    with_query: bool,
    with_timestamp: bool,
) -> Batch:
    """Requests with the history `start..stop` (flat positions, [B]); the event at `stop`, if any, is asked for."""
    place, valid = _grid(start, stop)
    batch = _history(sequences, columns, place, valid)
    batch["length"] = (stop - start).astype(np.int32)
    exists = (stop < sequences.offsets[1:][users])[:, np.newaxis]
    place = np.minimum(stop, max(len(sequences.item) - 1, 0))[:, np.newaxis]  # [B, 1]
    for name, value in _request(sequences, columns, users, place, exists).items():
        batch[name] = value if name.startswith("profile_") else value[:, 0]
    if not with_query and "query_row" in batch:
        batch["query_row"] = np.full_like(batch["query_row"], NO_TEXT)
    if not with_timestamp and "request_timestamp" in batch:
        batch["request_timestamp"] = np.zeros_like(batch["request_timestamp"])
    return batch


def _grid(start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat positions [B, P] of right-padded rows, and which of them are real. P is at least 1."""
    steps = np.arange(max(1, int((stop - start).max(initial=0))))
    place = start[:, np.newaxis] + steps
    valid = place < stop[:, np.newaxis]
    return np.where(valid, place, 0), valid


def _history(sequences: SequenceTable, columns: BatchColumns, place: np.ndarray, valid: np.ndarray) -> Batch:
    batch = {"item_index": _take(sequences.item, place, valid, UNKNOWN_ITEM)}
    if columns.text:
        batch["text_row"] = _take(sequences.text_row, place, valid, NO_TEXT)
    if columns.event:
        batch["event"] = _take(sequences.event, place, valid, 0)
    if columns.rating:
        batch["rating"] = _take(sequences.rating, place, valid, np.nan)
    if columns.timestamp:
        batch["timestamp"] = _take(sequences.timestamp, place, valid, 0)
    return batch


def _request(
    sequences: SequenceTable, columns: BatchColumns, users: np.ndarray, place: np.ndarray, valid: np.ndarray
) -> Batch:
    batch: Batch = {}
    if columns.query:
        batch["query_row"] = _take(sequences.query_row, place, valid, NO_TEXT)
    if columns.timestamp:
        batch["request_timestamp"] = _take(sequences.timestamp, place, valid, 0)
    for name in columns.context:
        batch[f"context_{name}"] = _take(sequences.context[name], place, valid, 0)
    for name in columns.profile:
        batch[f"profile_{name}"] = sequences.profile[name][users]
    return batch


def _take(column: np.ndarray | None, place: np.ndarray, valid: np.ndarray, missing: float) -> np.ndarray:
    if column is None:
        raise ValueError("this split lacks a column that the model was trained with")
    if len(column) == 0:
        return np.full(place.shape, missing, column.dtype)
    return np.where(valid, column[place], np.asarray(missing, column.dtype))
