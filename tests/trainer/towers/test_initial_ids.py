from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.trainer import tables
from trainer.data.tables import TextVectors
from trainer.towers import initial_ids
from trainer.towers.initial_ids import from_neighbours, from_reviews, initial_directions


def texts(rows: int, width: int = 6) -> TextVectors:
    vectors = np.random.default_rng(0).normal(size=(rows, width)) + 3.0
    return TextVectors((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16), "none")


def test_items_with_similar_reviews_start_close() -> None:
    train = tables.sequence_table([[1, 2, 3, 4], [1, 2, 3, 5]])
    # Items 1 and 2 have the same reviews, 3 has others; 4 has no text, 5 only a query.
    train = dataclasses.replace(
        train,
        text_row=np.array([0, 0, 1, -1, 0, 0, 2, -1], np.int32),
        query_row=np.array([-1, -1, -1, -1, -1, -1, -1, 3], np.int32),
    )
    start = from_reviews(6, train, texts(4), dim=4)
    assert start.shape == (7, 4)
    np.testing.assert_allclose(np.linalg.norm(start, axis=1), [0, 1, 1, 1, 0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(start[1], start[2], atol=1e-6)
    assert start[1] @ start[3] < 0.9


def test_the_unknown_item_and_narrow_texts() -> None:
    train = dataclasses.replace(tables.sequence_table([[0, 1, 2]]), text_row=np.array([0, 1, 2], np.int32))
    start = from_reviews(2, train, texts(3, width=3), dim=5)
    assert not start[0].any()
    assert not start[:, 3:].any()
    assert start[1].any()


def test_no_reviews() -> None:
    assert not from_reviews(3, tables.sequence_table([[1, 2]]), texts(1), dim=4).any()


def test_items_with_the_same_neighbours_start_alike() -> None:
    """Items 1 and 2 have the same neighbours but are not neighbours; 7 has no events, 8 no neighbours. The more events
    an item has, the longer its row.
    """
    rows = [[3, 1, 4], [3, 2, 4], [4, 1, 3], [4, 2, 3], [5, 6, 5], [6, 5, 6], [8]] * 3
    start = from_neighbours(8, tables.sequence_table(rows), dim=6, seed=1)
    assert start.shape == (9, 6)
    events = np.array([0, 6, 6, 12, 12, 9, 9, 0, 0])
    np.testing.assert_allclose(np.linalg.norm(start, axis=1), np.sqrt(events / (events + 20)), atol=1e-5)
    assert start[1] @ start[2] > 0.95 * (start[1] @ start[1])
    assert abs(start[1] @ start[5]) < 0.05 * (start[1] @ start[1])


def test_a_seed_repeats_and_order_between_users_does_not_matter() -> None:
    generator = np.random.default_rng(2)
    rows = [list(generator.integers(0, 31, 20)) for _ in range(50)]
    start = from_neighbours(30, tables.sequence_table(rows), dim=8, seed=1)
    assert not start[0].any()
    np.testing.assert_array_equal(start, from_neighbours(30, tables.sequence_table(rows), dim=8, seed=1))
    other = from_neighbours(30, tables.sequence_table(rows[::-1]), dim=8, seed=1)
    np.testing.assert_allclose(np.abs(start @ start.T), np.abs(other @ other.T), atol=1e-3)


def test_of_many_events_every_other_users_count(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[1, 2, 3], [1, 4, 5], [2, 3, 1], [4, 5, 4]]
    monkeypatch.setattr(initial_ids, "_MAX_EVENTS", 6)
    start = from_neighbours(5, tables.sequence_table(rows), dim=4, seed=1)
    assert start[1:4].any(axis=1).all()
    assert not start[4:].any()


def test_fewer_items_than_directions() -> None:
    start = from_neighbours(2, tables.sequence_table([[1, 2, 1], [2]]), dim=8, seed=1)
    assert np.isfinite(start).all()
    assert not start[:, 2:].any()


def test_no_neighbours() -> None:
    assert not from_neighbours(3, tables.sequence_table([[1], [0, 2], []]), dim=4, seed=1).any()


def test_reviews_come_before_neighbours() -> None:
    train = tables.sequence_table([[1, 2, 3], [2, 3, 1]])
    reviewed = dataclasses.replace(train, text_row=np.array([0, 1, 2, 0, 1, 2], np.int32))
    together = from_neighbours(3, train, dim=4, seed=5)
    settings = {"dim": 4, "heads": 1}
    for model, split, expected in (
        ({}, reviewed, from_reviews(3, reviewed, texts(3), dim=4)),
        ({}, train, together),
        ({"use_item_reviews": False}, reviewed, together),
        ({"use_item_reviews": False, "use_item_neighbours": False}, reviewed, np.zeros([4, 4])),
    ):
        config = tables.make_config(model=settings | model, seed=5)
        np.testing.assert_array_equal(initial_directions(config, 3, split, texts(3)), expected)
