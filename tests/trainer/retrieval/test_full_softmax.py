from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.retrieval.losses import full_softmax


@pytest.mark.parametrize("max_logits", [5, 300, 4_000_000])
@pytest.mark.parametrize("count", [1, 37, 64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("excluding", [False, True])
def test_full_softmax_and_its_gradients_equal_the_plain_form(
    monkeypatch: pytest.MonkeyPatch, max_logits: int, count: int, weighted: bool, excluding: bool
) -> None:
    monkeypatch.setattr(full_softmax, "MAX_LOGITS", max_logits)
    generator = np.random.default_rng(0)
    queries = tf.Variable(generator.normal(size=(count, 4)).astype(np.float32))
    candidates = tf.Variable(generator.normal(size=(9, 4)).astype(np.float32))
    targets = tf.constant(generator.integers(0, 9, count).astype(np.int32))
    weights = tf.constant(generator.uniform(0.01, 1.0, 9).astype(np.float32))
    excluded = generator.integers(-1, 9, [count, 3]).astype(np.int32)  # some twice, some the target
    mask = np.zeros([count, 9], bool)
    for row, (columns, target) in enumerate(zip(excluded, targets.numpy(), strict=True)):
        mask[row, [column for column in columns if column not in (-1, target)]] = excluding
    with tf.GradientTape(persistent=True) as tape:
        loss = full_softmax.full_softmax(
            queries,
            candidates,
            targets,
            0.3,
            weights if weighted else None,
            excluded=tf.constant(excluded) if excluding else None,
        )
        logits = tf.matmul(queries, candidates, transpose_b=True) / 0.3
        logits = tf.where(mask, -1e9, logits)
        if weighted:
            logits += tf.where(tf.one_hot(targets, 9, True, False, dtype=tf.bool), 0.0, tf.math.log(weights))
        plain = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))
    np.testing.assert_allclose(loss, plain, rtol=1e-5)
    for variable in (queries, candidates):
        np.testing.assert_allclose(tape.gradient(loss, variable), tape.gradient(plain, variable), atol=1e-6)


@pytest.mark.parametrize("products", [tf.bfloat16, tf.float16])
def test_half_precision_is_near(products: tf.DType) -> None:
    generator = np.random.default_rng(1)
    queries = tf.Variable(generator.normal(size=(40, 8)).astype(np.float32))
    candidates = tf.Variable(generator.normal(size=(90, 8)).astype(np.float32))
    targets = tf.constant(generator.integers(0, 90, 40).astype(np.int32))
    weights = tf.constant(generator.uniform(0.1, 1.0, 90).astype(np.float32))
    results = {}
    for kind in (tf.float32, products):
        with tf.GradientTape() as tape:
            loss = full_softmax.full_softmax(queries, candidates, targets, 1.0, weights, kind)
        results[kind] = [loss, *tape.gradient(loss, [queries, candidates])]
    for exact, half in zip(results[tf.float32], results[products], strict=True):
        assert half.dtype == tf.float32
        assert np.abs(half - exact).max() < 0.02 * np.abs(exact).max()
    assert float(results[products][0]) != float(results[tf.float32][0])


def test_the_loss_without_queries_is_0() -> None:
    candidates = tf.ones([3, 4])
    assert float(full_softmax.full_softmax(tf.zeros([0, 4]), candidates, tf.zeros([0], tf.int32), 1.0)) == 0.0
