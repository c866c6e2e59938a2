"""The negatives of the softmax over the catalogue, compared with plain sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import tables
from trainer.retrieval.objectives import make_objective
from trainer.training.randomness import RandomStream

ITEMS, DIM = 6, 4
EVENTS = [[1, 2, 1, 5], [3, 0, 0, 0]]  # 0 pads
TIMES = [[1000, 1050, 1100, 5000], [1000, 0, 0, 0]]


class _Tower:
    """Vectors that do not change."""

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = tf.constant(vectors)

    def all_vectors(self, training: bool) -> tf.Tensor:
        return self._vectors


@pytest.mark.parametrize("seconds", [0, 60, 101])
def test_items_of_events_around_the_target_event_are_no_negatives(seconds: int) -> None:
    generator = np.random.default_rng(4)
    vectors = generator.normal(size=[ITEMS + 1, DIM]).astype(np.float32)
    users = generator.normal(size=[2, 4, DIM]).astype(np.float32)
    data: dict[str, Any] = {"exclude_history": False, "exclude_recent_seconds": seconds}
    config = tables.make_config(data=data, retrieval={"popularity_smoothing": 0.0})
    counts = np.array([2, 1, 1, 0, 1, 3])  # item 4 has no train events: it is never a negative
    softmax = make_objective(config, tables.item_table(ITEMS, counts), True, RandomStream(1))
    index = np.array(EVENTS, np.int32)
    features = {
        "item_index": tf.constant(index),
        "target": tf.constant(index),
        "timestamp": tf.constant(TIMES, tf.int64),
    }
    queries = tf.constant(users[index > 0])
    targets = tf.constant(index[index > 0])
    loss = softmax(_Tower(vectors), lambda *_: queries, features, targets, True)

    expected = []
    for row, position in np.argwhere(index > 0):
        target = index[row, position]
        near = {
            int(item)
            for item, time in zip(EVENTS[row], TIMES[row], strict=True)
            if item and abs(time - TIMES[row][position]) < seconds
        }
        candidates = [item for item in range(1, ITEMS + 1) if item != 4 and (item == target or item not in near)]
        scores = vectors @ users[row, position]
        expected.append(np.log(np.exp(scores[candidates]).sum()) - scores[target])
    np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-5)
