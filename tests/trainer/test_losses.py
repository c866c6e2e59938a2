from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import tables
from trainer import losses
from trainer.negatives import MixedNegatives
from trainer.towers.transformer import RandomStream


@pytest.mark.parametrize("chunk", [5, 300, 4_000_000])
@pytest.mark.parametrize("count", [1, 37, 64])
def test_full_softmax_and_its_gradients_equal_the_plain_form(
    monkeypatch: pytest.MonkeyPatch, chunk: int, count: int
) -> None:
    monkeypatch.setattr(losses, "CHUNK", chunk)
    generator = np.random.default_rng(0)
    queries = tf.Variable(generator.normal(size=(count, 4)).astype(np.float32))
    candidates = tf.Variable(generator.normal(size=(9, 4)).astype(np.float32))
    targets = tf.constant(generator.integers(0, 9, count).astype(np.int32))
    with tf.GradientTape(persistent=True) as tape:
        loss = losses.full_softmax(queries, candidates, targets, 0.3)
        logits = tf.matmul(queries, candidates, transpose_b=True) / 0.3
        plain = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))
    np.testing.assert_allclose(loss, plain, rtol=1e-5)
    for variable in (queries, candidates):
        np.testing.assert_allclose(tape.gradient(loss, variable), tape.gradient(plain, variable), atol=1e-6)


def test_full_softmax_of_nothing_is_nothing() -> None:
    candidates = tf.ones([3, 4])
    assert float(losses.full_softmax(tf.zeros([0, 4]), candidates, tf.zeros([0], tf.int32), 1.0)) == 0.0


def sampled(
    queries: np.ndarray, vectors: np.ndarray, target: np.ndarray, drawn: np.ndarray, log_q: np.ndarray
) -> float:
    return float(
        losses.sampled_softmax(
            queries, vectors[target], target, log_q[target], vectors[drawn], drawn, log_q[drawn], temperature=0.5
        )
    )


def test_temperature_comes_before_log_q_and_log_q_is_subtracted() -> None:
    generator = np.random.default_rng(1)
    vectors = generator.normal(size=(6, 3)).astype(np.float32)
    queries = generator.normal(size=(2, 3)).astype(np.float32)
    log_q = np.log(np.array([0.4, 0.3, 0.1, 0.1, 0.05, 0.05], np.float32))
    target, drawn = np.array([0, 2], np.int32), np.array([1, 2, 4], np.int32)
    expected = []
    for i in range(2):
        others = [j for j in drawn if j != target[i]]  # an accidental hit is no negative
        logits = np.array([queries[i] @ vectors[j] / 0.5 - log_q[j] for j in [target[i], *others]])
        expected.append(np.log(np.exp(logits).sum()) - logits[0])
    assert sampled(queries, vectors, target, drawn, log_q) == pytest.approx(np.mean(expected), rel=1e-5)


def test_correction_recovers_the_full_softmax_on_skewed_samples() -> None:
    """With draws in proportion to Q, corrected logits estimate the full softmax; uncorrected and wrong sign do not."""
    generator = np.random.default_rng(2)
    vectors = generator.normal(size=(50, 8)).astype(np.float32) * 0.5
    queries = generator.normal(size=(200, 8)).astype(np.float32)
    q = np.arange(1, 51, dtype=np.float64) ** -1.2
    q /= q.sum()
    drawn = generator.choice(50, 20_000, p=q).astype(np.int32)
    target = generator.integers(25, 50, 200).astype(np.int32)
    # One draw stands for 1 / (draws * Q) items, so it is the expected count that makes the two sums comparable.
    log_count = np.log(q * len(drawn)).astype(np.float32)
    full = float(losses.full_softmax(queries, vectors, target, 0.5))

    def error(sign: float) -> float:
        shifted = float(
            losses.sampled_softmax(
                queries,
                vectors[target],
                target,
                np.zeros(len(target), np.float32),
                vectors[drawn],
                drawn,
                sign * log_count[drawn],
                temperature=0.5,
            )
        )
        return abs(shifted - full)

    assert error(1.0) < 0.1
    assert error(1.0) < error(0.0) < error(-1.0)


def test_log_q_is_the_probability_of_the_draw() -> None:
    counts = np.array([60, 30, 9, 1, 0])
    items = tables.item_table(5, counts)
    negatives = MixedNegatives(items, 40_000, stream := RandomStream(3))
    targets = tf.constant(np.repeat(np.arange(1, 6), counts).astype(np.int32))
    drawn = negatives.draw(targets).numpy()
    share = np.bincount(drawn, minlength=6) / len(drawn)
    assert share[[0, 5]].sum() == 0
    np.testing.assert_allclose(share[1:5], np.exp(negatives.log_q.numpy())[1:5], atol=0.01)
    assert np.array_equal(drawn, negatives.draw(targets).numpy()), "a step draws the same whenever it is taken"
    stream.step.assign_add(1)
    assert not np.array_equal(drawn, negatives.draw(targets).numpy())
