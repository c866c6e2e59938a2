from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import tables
from trainer.retrieval import negatives
from trainer.retrieval.negatives import MixedNegatives
from trainer.training.randomness import RandomStream

COUNTS = np.array([60, 30, 9, 1, 0])


def test_q_is_the_probability_of_a_candidate() -> None:
    items = tables.item_table(5, COUNTS)
    mixed = MixedNegatives(items, 40_000, stream := RandomStream(3))
    in_batch = np.random.default_rng(0).choice(np.arange(1, 6), 10_000, p=COUNTS / 100).astype(np.int32)
    uniform = mixed.sample(tf.constant(len(in_batch))).numpy()
    ids = np.concatenate([in_batch, uniform])
    assert len(ids) == 40_000
    share = np.bincount(ids, minlength=6) / len(ids)
    assert share[[0, 5]].sum() == 0
    q = mixed.probability(tf.constant(ids), tf.constant(len(in_batch))).numpy()
    for item in range(1, 5):
        assert q[ids == item] == pytest.approx(share[item], abs=0.01)
    assert sum(q[ids == item][0] for item in range(1, 5)) == pytest.approx(1)
    assert np.array_equal(uniform, mixed.sample(tf.constant(len(in_batch))).numpy()), "they depend on the step only"
    stream.step.assign_add(1)
    assert not np.array_equal(uniform, mixed.sample(tf.constant(len(in_batch))).numpy())


@pytest.mark.parametrize(
    ("queries", "count", "expected"),
    [(0, 4096, 1), (1, 4096, 1), (2048, 4096, 2048), (2049, 4096, 1025), (6400, 4096, 1600), (6400, 2, 1)],
)
def test_a_chunk_brings_at_most_half_of_the_candidates(queries: int, count: int, expected: int) -> None:
    mixed = MixedNegatives(tables.item_table(5, COUNTS), count, RandomStream(3))
    assert int(mixed.queries_per_chunk(tf.constant(queries))) == expected


def test_chunks_are_bounded_however_many_candidates_are_asked_for() -> None:
    mixed = MixedNegatives(tables.item_table(5, COUNTS), 100_000, RandomStream(3))
    assert int(mixed.queries_per_chunk(tf.constant(25_600))) <= negatives.MAX_IN_BATCH
