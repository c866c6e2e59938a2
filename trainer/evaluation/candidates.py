"""Which items may be recommended: the candidates of a catalogue, and the items that are excluded for a user."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.ragged import ranges
from trainer.data.tables import ItemTable, SequenceTable


def candidate_mask(config: Config, items: ItemTable) -> np.ndarray:
    """Which items are ranked, bool [n + 1]; the unknown item never is."""
    allowed = items.occurs if config.evaluation.candidates == "occurring" else np.ones(len(items), bool)
    return np.concatenate([[False], allowed])


def exclusion_start(config: Config, sequences: SequenceTable, users: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Start of each user's excluded events, whose items may not be recommended. The excluded events end at `stop`.

    Excluded are the whole history before `stop` (`data.exclude_history`), the events of the last
    `data.exclude_recent_seconds`, or none. The seconds are counted back from the event at `stop` if requests have a
    time (`evaluation.with_timestamp`), otherwise from the last event before it.

    Args:
      users: int64 [B], rows of `sequences`.
      stop: int64 [B], flat positions in `sequences`.

    Returns:
      int64 [B] flat positions; `stop` where nothing is excluded.
    """
    begin, end = sequences.offsets[:-1][users], sequences.offsets[1:][users]
    if config.data.exclude_history:
        return begin
    seconds, times = config.data.exclude_recent_seconds, sequences.timestamp
    if not seconds or not len(times):
        return stop
    request = np.where(config.evaluation.with_timestamp & (stop < end), stop, stop - 1)
    return np.array(
        [
            first + np.searchsorted(times[first:after], max(times[now] - seconds, 0), side="right")
            for first, after, now in zip(begin, stop, request, strict=True)
        ],
        np.int64,
    )


def event_pairs(sequences: SequenceTable, start: np.ndarray, stop: np.ndarray) -> tf.Tensor:
    """(i, item index) of the events at flat positions `start[i]..stop[i]`: int32 [pairs, 2]."""
    position, row = ranges(start, stop)
    return tf.constant(np.stack([row, sequences.item[position]], axis=1), tf.int32)
