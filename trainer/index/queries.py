"""Queries that an index is measured with: vectors of held-out users, never vectors of items."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.batches import request_batches
from trainer.data.tables import SequenceTable
from trainer.retrieval.model import RetrievalModel

MAX_QUERIES = 1_000  # held-out users that recall and latency of an index are measured with
_BATCH_SIZE = 256


def user_vectors(
    config: Config, model: RetrievalModel, sequences: SequenceTable, limit: int = MAX_QUERIES
) -> np.ndarray:
    """User vectors just before the held-out events: float32 [min(limit, users), dim].

    Args:
      config: the configuration.
      model: the retrieval model.
      sequences: a validation or test split.
      limit: maximum number of users; they are sampled with the configuration's seed.
    """
    count = min(limit, len(sequences))
    users = np.sort(np.random.default_rng(config.seed).choice(len(sequences), count, replace=False))
    item_vectors = model.item_vectors()
    settings = config.evaluation
    batches = request_batches(
        sequences,
        model.columns,
        config.model.max_history,
        _BATCH_SIZE,
        with_query=settings.with_query,
        with_timestamp=settings.with_timestamp,
        users=users,
    )
    vectors = [
        model.encode(model.features({name: tf.constant(value) for name, value in batch.items()}), item_vectors).numpy()
        for _, batch in batches
    ]
    return np.concatenate(vectors) if vectors else np.zeros((0, config.model.dim), np.float32)
