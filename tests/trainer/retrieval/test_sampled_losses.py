from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from trainer.retrieval.losses import full_softmax, sampled
from trainer.retrieval.losses.sampled_softmax import softmax_task
from trainer.retrieval.losses.triplet import triplet_task

pytestmark = pytest.mark.slow

DIM = 4
TASKS: dict[str, Callable] = {"softmax": lambda hard=None: softmax_task(0.5, hard), "triplet": triplet_task}
READY = {kind: make() for kind, make in TASKS.items()}
TASK = READY["softmax"]


def sampled_loss(
    task: sampled.Task,
    queries: tf.Tensor,
    positives: tf.Tensor,
    positive_ids: tf.Tensor,
    negatives: tf.Tensor,
    negative_ids: tf.Tensor,
    queries_per_chunk: int,
    probability: sampled.Probability | None = None,
) -> tf.Tensor:
    candidates = sampled.Candidates(positives, positive_ids), sampled.Candidates(negatives, negative_ids)
    return sampled.sampled_loss(task, queries, *candidates, queries_per_chunk, probability)


def table(values: list[float] | np.ndarray) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The probability of each id, whatever the share in-batch."""
    return lambda ids, in_batch: tf.gather(tf.constant(values, tf.float32), ids)


def problem(seed: int, queries: int = 7, items: int = 9, negatives: int = 6) -> tuple:
    """(item vectors, and the arguments of `sampled_loss` between `task` and `queries_per_chunk`)"""
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(items, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    users = generator.normal(size=(queries, DIM)).astype(np.float32)
    users /= np.linalg.norm(users, axis=1, keepdims=True)
    target = generator.integers(0, items, queries).astype(np.int32)
    ids = generator.integers(0, items, negatives).astype(np.int32)
    return vectors, (users, vectors[target], target, vectors[ids], ids)


def plain(kind: str, hard: int | None, arguments: tuple, queries_per_chunk: int, q: np.ndarray) -> tf.Tensor:
    """The loss written out query by query."""
    users, positives, target, negatives, negative_ids = arguments
    chunks = max(1, -(-len(target) // queries_per_chunk))
    order = np.argsort(np.arange(len(target)) % chunks, kind="stable")
    rows = -(-len(target) // chunks)
    values = []
    for start in range(0, len(target), rows):
        chunk = order[start : start + rows]
        ids = np.concatenate([target[chunk], negative_ids])
        candidates = tf.concat([tf.gather(positives, chunk), negatives], axis=0)
        for i in chunk:
            others = np.flatnonzero(ids != target[i])  # an accidental hit is no negative
            own = tf.tensordot(users[i], positives[i], 1)
            scores = tf.linalg.matvec(tf.gather(candidates, others), users[i])
            if kind == "softmax":  # the temperature comes before log Q, and log Q is subtracted
                own = own / 0.5 - np.log(q[target[i]])
                scores = scores / 0.5 - np.log(q[ids[others]]).astype(np.float32)
            scores = tf.sort(scores, direction="DESCENDING")[:hard]
            if kind == "softmax":
                values.append(tf.reduce_logsumexp(tf.concat([[own], scores], axis=0)) - own)
            else:
                values.append(tf.reduce_mean(tf.math.log(1 + tf.exp(-own + scores))))
    return tf.add_n(values) / len(values)


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("hard", [None, 3])
@pytest.mark.parametrize("queries_per_chunk", [1, 3, 100])
def test_loss_and_gradients_are_those_of_the_plain_form(kind: str, hard: int | None, queries_per_chunk: int) -> None:
    _, (users, positives, target, negatives, ids) = problem(4)
    q = np.array([0.3, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05], np.float32)
    task = TASKS[kind](hard)
    parts = [tf.constant(x) for x in (users, positives, negatives)]

    def computed(users: tf.Tensor, positives: tf.Tensor, negatives: tf.Tensor) -> tf.Tensor:
        arguments = (users, positives, target, negatives, ids, queries_per_chunk)
        return 2.0 * sampled_loss(task, *arguments, table(q) if kind == "softmax" else None)

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(parts)
        loss = tf.function(computed, autograph=False)(*parts) if hard and queries_per_chunk == 3 else computed(*parts)
        expected = 2.0 * plain(kind, hard, (parts[0], parts[1], target, parts[2], ids), queries_per_chunk, q)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for part in parts:
        gradient = tf.convert_to_tensor(tape.gradient(expected, part))
        np.testing.assert_allclose(tape.gradient(loss, part), gradient, atol=1e-5)


@pytest.mark.parametrize("queries", [1, 2, 12])
def test_all_items_as_candidates_and_q_uniform_is_the_full_softmax(queries: int) -> None:
    vectors, (users, positives, target, _, _) = problem(queries, queries)
    everything = np.arange(len(vectors), dtype=np.int32)
    sampled = sampled_loss(
        TASK, users, positives, target, vectors, everything, 1, table(np.full(len(vectors), 1 / len(vectors)))
    )
    np.testing.assert_allclose(sampled, full_softmax.full_softmax(users, vectors, target, 0.5), rtol=1e-4)


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("queries_per_chunk", [1, 3, 7, 10])
def test_accidental_hits_never_count(kind: str, queries_per_chunk: int) -> None:
    """If all candidates are the same item, no query has a negative: loss and gradients are 0."""
    vectors, (users, *_) = problem(5)
    same, ids = np.repeat(vectors[:1], 7, axis=0), np.zeros(7, np.int32)
    watched = [tf.Variable(users), tf.Variable(same), tf.Variable(same[:5])]
    with tf.GradientTape() as tape:
        loss = sampled_loss(READY[kind], watched[0], watched[1], ids, watched[2], ids[:5], queries_per_chunk)
    assert float(loss) == pytest.approx(0, abs=1e-6)
    for gradient in tape.gradient(loss, watched):
        np.testing.assert_allclose(gradient, 0, atol=1e-6)


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("hard", [12, 1000])
def test_all_negatives_hard_is_as_none(kind: str, hard: int) -> None:
    q = table(np.full(9, 1 / 9))
    for seed in range(5):
        _, arguments = problem(seed)
        plain = sampled_loss(READY[kind], *arguments, 7, q if kind == "softmax" else None)
        mined = sampled_loss(TASKS[kind](hard), *arguments, 7, q if kind == "softmax" else None)
        np.testing.assert_allclose(mined, plain, rtol=1e-5)


@pytest.mark.parametrize("kind", TASKS)
def test_the_loss_without_queries_is_0(kind: str) -> None:
    vectors, _ = problem(0)
    none = np.zeros([0, DIM], np.float32)
    loss = sampled_loss(READY[kind], none, none, np.zeros(0, np.int32), vectors, np.arange(9, dtype=np.int32), 1)
    assert float(loss) == 0


@pytest.mark.parametrize("q", [0.0, 3.0])
def test_a_count_is_no_probability(q: float) -> None:
    _, arguments = problem(0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not counts"):
        sampled_loss(TASK, *arguments, 7, table(np.full(9, q)))


def test_rare_items_are_corrected_below_one_in_a_million() -> None:
    """Without a correction of ours, tfrs would clip all of these probabilities to 1e-6."""
    _, arguments = problem(0)
    q = np.linspace(1, 9, 9) / 45
    common = sampled_loss(TASK, *arguments, 7, table(q))
    np.testing.assert_allclose(sampled_loss(TASK, *arguments, 7, table(q * 1e-7)), common, rtol=1e-5)
