"""The sign of the correction, and that it pays: three models that differ in nothing but Q."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import tables
from trainer.retrieval.losses.sampled import Candidates, sampled_loss
from trainer.retrieval.losses.sampled_softmax import softmax_task
from trainer.retrieval.negatives import MixedNegatives
from trainer.training.randomness import RandomStream

pytestmark = pytest.mark.slow

KINDS, ITEMS, DIM, BATCH, STEPS = 12, 150, 16, 256, 100
Probability = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def taste() -> np.ndarray:
    """p(item | kind of user) [KINDS, ITEMS]: a skewed popularity that all share, times a liking of each kind's own."""
    generator = np.random.default_rng(0)
    popularity = np.arange(1, ITEMS + 1) ** -1.2
    p = popularity * np.exp(1.5 * generator.normal(size=(KINDS, ITEMS)))
    return p / p.sum(axis=1, keepdims=True)


def expected_ndcg(p: np.ndarray, scores: np.ndarray, k: int = 10) -> float:
    """Mean over all kinds of users and events of 1 / log2(1 + rank of the event's item), 0 beyond rank k."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((np.take_along_axis(p, best, axis=1) / np.log2(np.arange(k) + 2)).sum(axis=1).mean())


def learn(p: np.ndarray, correction: Callable[[Probability], Probability]) -> np.ndarray:
    """Scores [KINDS, ITEMS] of two embedding tables, trained on events sampled from `p` with `sampled_loss`."""
    generator = np.random.default_rng(1)
    kinds = generator.integers(0, KINDS, STEPS * BATCH).astype(np.int32)
    draws = generator.random(len(kinds))
    targets = np.minimum((np.cumsum(p, axis=1)[kinds] < draws[:, np.newaxis]).sum(axis=1), ITEMS - 1) + 1
    items = tables.item_table(ITEMS, np.bincount(targets, minlength=ITEMS + 1)[1:])
    negatives = MixedNegatives(items, 256, stream := RandomStream(1))
    probability, task = correction(negatives.probability), softmax_task(1.0)
    user_table = tf.Variable(generator.normal(size=(KINDS, DIM), scale=0.1).astype(np.float32))
    item_table = tf.Variable(generator.normal(size=(ITEMS + 1, DIM), scale=0.1).astype(np.float32))
    optimizer = tf.keras.optimizers.Adam(0.06)
    queries_per_chunk = negatives.queries_per_chunk(tf.constant(BATCH))

    @tf.function(autograph=False)
    def step(kinds: tf.Tensor, targets: tf.Tensor) -> None:
        stream.step.assign_add(1)
        negative_ids = negatives.sample(queries_per_chunk)
        with tf.GradientTape() as tape:
            users, positive_vectors, negative_vectors = (
                tf.gather(table, index)
                for table, index in ((user_table, kinds), (item_table, targets), (item_table, negative_ids))
            )
            positives = Candidates(positive_vectors, targets)
            negative = Candidates(negative_vectors, negative_ids)
            loss = sampled_loss(task, users, positives, negative, queries_per_chunk, probability)
        variables = [user_table, item_table]
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for part in range(STEPS):
        here = slice(part * BATCH, (part + 1) * BATCH)
        step(tf.constant(kinds[here]), tf.constant(targets[here].astype(np.int32)))
    return (user_table.numpy() @ item_table.numpy().T)[:, 1:]


def wrong_sign(probability: Probability) -> Probability:
    """log of this is minus log Q, up to a constant."""

    def inverse(ids: tf.Tensor, in_batch: tf.Tensor) -> tf.Tensor:
        q = probability(ids, in_batch)
        return tf.reduce_min(q) / q

    return inverse


@pytest.fixture(scope="module")
def ndcg() -> dict[str, float]:
    p = taste()
    values = {
        "corrected": learn(p, lambda probability: probability),
        "uncorrected": learn(p, lambda _: lambda ids, in_batch: tf.ones(tf.shape(ids))),
        "wrong sign": learn(p, wrong_sign),
    }
    return {name: expected_ndcg(p, scores) for name, scores in values.items()} | {"best": expected_ndcg(p, p)}


def test_corrected_beats_uncorrected_beats_the_wrong_sign(ndcg: dict[str, float]) -> None:
    assert ndcg["corrected"] > ndcg["uncorrected"] + 0.05
    assert ndcg["uncorrected"] > ndcg["wrong sign"] + 0.05


def test_corrected_comes_near_the_best_possible_ndcg(ndcg: dict[str, float]) -> None:
    assert ndcg["corrected"] > 0.9 * ndcg["best"]
