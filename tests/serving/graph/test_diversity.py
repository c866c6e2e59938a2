from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.graph import diversity

COUNT, CANDIDATES, DIM = 5, 9, 4


def expected_order(scores: np.ndarray, vectors: np.ndarray, share: float) -> list[int]:
    """Maximal marginal relevance in so many words."""
    present = [i for i in range(len(scores)) if np.isfinite(scores[i])]
    if share == 0:
        return sorted(present, key=lambda i: -scores[i])[:COUNT]
    least, most = (f([scores[i] for i in present], default=0.0) for f in (min, max))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    picked: list[int] = []
    while present and len(picked) < COUNT:

        def gain(i: int) -> float:
            relevance = (scores[i] - least) / (most - least) if most > least else 0.0
            return (1 - share) * relevance - share * max((unit[i] @ unit[j] for j in picked), default=-1.0)

        picked.append(max(present, key=lambda i: (round(gain(i), 5), scores[i])))
        present.remove(picked[-1])
    return picked


@st.composite
def batches(draw):
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    rows = draw(st.integers(0, 3))
    scores = random.normal(size=(rows, CANDIDATES)).astype(np.float32) * draw(st.sampled_from([0.01, 1.0, 1000.0]))
    scores[random.random(scores.shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = -np.inf
    vectors = random.normal(size=(rows, CANDIDATES, DIM)).astype(np.float32)
    return scores, vectors, random.choice(np.array([0.0, 0.3, 0.7, 1.0], np.float32), rows)


@tf.function(
    input_signature=[
        tf.TensorSpec([None, CANDIDATES]),
        tf.TensorSpec([None, CANDIDATES, DIM]),
        tf.TensorSpec([None]),
    ]
)
def best(scores, vectors, share):
    return diversity.top_candidates(scores, lambda: vectors, share, COUNT)


@settings(max_examples=100, deadline=None)
@given(batches())
def test_picks_are_those_of_the_definition(batch):
    values, places = (part.numpy() for part in best(*batch))
    assert values.shape == places.shape == (len(batch[0]), COUNT)
    for scores, vectors, share, value, place in zip(*batch, values, places, strict=True):
        expected = expected_order(scores, vectors, share)
        assert place[: len(expected)].tolist() == expected
        assert len(set(place.tolist())) == COUNT
        np.testing.assert_array_equal(value, scores[place])
        assert np.isneginf(value[len(expected) :]).all()


def test_without_diversity_the_order_is_exactly_that_of_the_scores():
    """In the company of a row that asks for it, and where bringing scores to 0..1 makes neighbours equal."""
    scores = np.array([[0.0, 1e-9, 1e9, 5e8, -1e9, 3e-9, 2e-9, 0.0, 1e-9], np.arange(9)], np.float32)
    vectors = np.random.default_rng(0).normal(size=(2, CANDIDATES, DIM)).astype(np.float32)
    alone = best(scores[:1], vectors[:1], np.zeros(1, np.float32))[1].numpy()[0]
    mixed = best(scores, vectors, np.array([0.0, 0.5], np.float32))[1].numpy()[0]
    assert alone.tolist() == mixed.tolist() == [2, 3, 5, 6, 1]


def test_copies_of_the_best_come_last():
    vectors = np.eye(DIM, dtype=np.float32)[[0, 0, 0, 1, 1, 2, 2, 3, 3]][np.newaxis]
    scores = np.arange(9, 0, -1, dtype=np.float32)[np.newaxis]
    assert best(scores, vectors, np.ones(1, np.float32))[1].numpy()[0, :4].tolist() == [0, 3, 5, 7]
