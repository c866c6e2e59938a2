"""Makes padded batches of sequences by numpy indexing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trainer.data.ragged import ranges
from trainer.data.tables import NO_TEXT, UNKNOWN_ITEM, SequenceTable
from trainer.training.batch import Batch

# Windows of this many batches are sorted by length together. This saves padding, and batches differ between epochs.
POOL = 32


@dataclass(frozen=True)
class BatchColumns:
    """Which columns of a sequence table a batch has in addition to the items."""

    text: bool = False  # what the user wrote with an event
    event: bool = False
    rating: bool = False
    timestamp: bool = False
    query: bool = False  # the query before an event
    context: tuple[str, ...] = ()
    profile: tuple[str, ...] = ()


@dataclass(frozen=True)
class Windows:
    """Pieces of sequences, as flat event positions. Every event is a target in exactly one window."""

    user: np.ndarray  # int64 [windows]
    start: np.ndarray  # int64 [windows], first event
    stop: np.ndarray  # int64 [windows], one past the last event
    target_from: np.ndarray  # int64 [windows], first event that is a target

    def __len__(self) -> int:
        return len(self.user)


def training_windows(sequences: SequenceTable, max_history: int, overlap: float) -> Windows:
    """Cuts sequences into windows of at most `max_history` + 1 events.

    A user's last window ends with the last event. Each window ends one stride before the next one, where a stride is
    the part of a window that does not overlap. An event that is in two windows is a target in the earlier one, in which
    more events precede it.
    """
    width = max_history + 1
    stride = max(1, width - int(overlap * width))
    lengths = np.diff(sequences.offsets)
    counts = np.where(lengths > 0, 1 + np.ceil(np.maximum(lengths - width, 0) / stride).astype(np.int64), 0)
    number, user = ranges(np.zeros_like(counts), counts)  # windows of a user, numbered from 0
    windows_after = counts[user] - 1 - number
    begin, end = sequences.offsets[:-1][user], sequences.offsets[1:][user]
    stop = end - windows_after * stride
    start = np.maximum(stop - width, begin)
    previous_stop = stop - stride
    target_from = np.where(number == 0, begin, np.maximum(previous_stop, begin))
    return Windows(user, start, stop, target_from)


def sequences_per_batch(windows: Windows, sequences: int, events: int) -> int:
    """Number of windows in a training step: as many as have about `events` events together, from 1 to `sequences`.

    If windows have many events, a step has fewer windows, and an epoch has more steps.
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
    """One epoch of batches in which every position predicts, shuffled by (seed, epoch), from batch number `first` on.

    Yields:
      features of `UserTower.call` with `text_row` and `query_row` in place of vectors; always `timestamp` int64 [B, P];
      and `target` int32 [B, P]: the item to predict at a position, UNKNOWN_ITEM at positions without a prediction.
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
        position, valid = _grid(start, stop)
        batch = _history(sequences, columns, position, valid)
        batch["length"] = (stop - start).astype(np.int32)
        if "timestamp" not in batch:  # the loss reads it, even if the tower does not
            batch["timestamp"] = _take(sequences.timestamp, position, valid, 0)
        is_target = valid & (position >= windows.target_from[rows][:, np.newaxis])
        batch["target"] = np.where(is_target, batch["item_index"], UNKNOWN_ITEM)
        batch |= _request(sequences, columns, windows.user[rows], position, valid)
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
    """One request for each user, made just before the targets, or after the last event if there are no targets.

    Args:
      users: int64 [users], rows of `sequences`; by default all.
      with_query, with_timestamp: whether the request has the first target's query and time.

    Yields:
      (int64 [B] rows of `sequences`, features of `UserTower.encode` with `text_row`, `query_row` in place of vectors).
    """
    users = np.arange(len(sequences)) if users is None else users
    stop = sequences.offsets[1:] - sequences.target_count
    for first in range(0, len(users), batch_size):
        rows = users[first : first + batch_size]
        start = np.maximum(sequences.offsets[rows], stop[rows] - max_history)
        batch = request_batch(
            sequences, columns, rows, start, stop[rows], with_query=with_query, with_timestamp=with_timestamp
        )
        yield rows, batch


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
    """Requests with the history `start..stop` (flat positions, int64 [B]).

    Query, context and time are those of the event at `stop`. If the user has no event there, they are missing.

    Args:
      users: int64 [B], rows of `sequences`.
      with_query, with_timestamp: whether the requests have this query and this time.

    Returns:
      features of `UserTower.encode` with `text_row` and `query_row` in place of vectors.
    """
    position, valid = _grid(start, stop)
    batch = _history(sequences, columns, position, valid)
    batch["length"] = (stop - start).astype(np.int32)
    exists = (stop < sequences.offsets[1:][users])[:, np.newaxis]
    position = np.minimum(stop, max(len(sequences.item) - 1, 0))[:, np.newaxis]  # [B, 1]
    for name, value in _request(sequences, columns, users, position, exists).items():
        batch[name] = value if name.startswith("profile_") else value[:, 0]
    if not with_query and "query_row" in batch:
        batch["query_row"] = np.full_like(batch["query_row"], NO_TEXT)
    if not with_timestamp and "request_timestamp" in batch:
        batch["request_timestamp"] = np.zeros_like(batch["request_timestamp"])
    return batch


def _grid(start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat positions [B, P] of right-padded rows, and which of them are not padding. P is at least 1."""
    position = start[:, np.newaxis] + np.arange(max(1, int((stop - start).max(initial=0))))
    valid = position < stop[:, np.newaxis]
    return np.where(valid, position, 0), valid


def _history(sequences: SequenceTable, columns: BatchColumns, position: np.ndarray, valid: np.ndarray) -> Batch:
    batch = {"item_index": _take(sequences.item, position, valid, UNKNOWN_ITEM)}
    if columns.text:
        batch["text_row"] = _take(sequences.text_row, position, valid, NO_TEXT)
    if columns.event:
        batch["event"] = _take(sequences.event, position, valid, 0)
    if columns.rating:
        batch["rating"] = _take(sequences.rating, position, valid, np.nan)
    if columns.timestamp:
        batch["timestamp"] = _take(sequences.timestamp, position, valid, 0)
    return batch


def _request(
    sequences: SequenceTable, columns: BatchColumns, users: np.ndarray, position: np.ndarray, valid: np.ndarray
) -> Batch:
    batch: Batch = {}
    if columns.query:
        batch["query_row"] = _take(sequences.query_row, position, valid, NO_TEXT)
    if columns.timestamp:
        batch["request_timestamp"] = _take(sequences.timestamp, position, valid, 0)
    for name in columns.context:
        batch[f"context_{name}"] = _take(sequences.context[name], position, valid, 0)
    for name in columns.profile:
        batch[f"profile_{name}"] = sequences.profile[name][users]
    return batch


def _take(column: np.ndarray | None, position: np.ndarray, valid: np.ndarray, missing: float) -> np.ndarray:
    if column is None:
        raise ValueError("the split should have every column that the model was trained with. Received: none")
    if len(column) == 0:
        return np.full(position.shape, missing, column.dtype)
    return np.where(valid, column[position], np.asarray(missing, column.dtype))
