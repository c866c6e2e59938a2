"""Requests of held-out users. `evaluation.with_query` and `with_timestamp` decide if they have a query and a time."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.batches import Batch, BatchColumns, request_batch
from trainer.data.tables import SequenceTable


def requests_at(
    config: Config,
    columns: BatchColumns,
    sequences: SequenceTable,
    users: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
) -> Batch:
    """Requests with the history `start..stop`; see `request_batch`."""
    settings = config.evaluation
    return request_batch(
        sequences,
        columns,
        users,
        start,
        stop,
        with_query=settings.with_query,
        with_timestamp=settings.with_timestamp,
    )


def requests_before_targets(
    config: Config, columns: BatchColumns, sequences: SequenceTable, users: np.ndarray
) -> dict[str, tf.Tensor]:
    """One request of each user, made just before its targets, or after its last event if it has none.

    Args:
      config: `model` limits the history, `evaluation` decides if a request has a query and a time.
      columns: which features the requests have.
      sequences: any split.
      users: int64 [B], rows of it.
    """
    stop = sequences.offsets[1:][users] - sequences.target_count[users]
    start = np.maximum(sequences.offsets[:-1][users], stop - config.model.max_history)
    batch = requests_at(config, columns, sequences, users, start, stop)
    return {name: tf.constant(value) for name, value in batch.items()}
