"""Exclusions and allow-lists against a plain computation over the whole catalogue."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.graph.categories import Categories
from serving.graph.filters import top_items_excluding
from serving.graph.recommender import Recommender
from tests.serving import exported
from tests.serving.exported import COLOURS, LATE_COLOUR, K, Session, Traced, texts
from trainer.index import persistence as index_persistence

pytestmark = pytest.mark.slow

ITEMS = 60  # few enough for ScaNN to score all of them: what it finds is exact


class Filtered:
    """A model whose requests may allow categories, in the forms it ships in, and what it should answer."""

    def __init__(self, kind: str, column: str, place) -> None:
        config = exported.make_config(everything=False, category=column)
        self.items = exported.make_items(ITEMS)
        self.towers = exported.make_towers(config, self.items, everything=False)
        index = index_persistence.load(exported.make_index(config, self.towers, place / "index", kind))
        self._categories = [set(names) for names in exported.category_names(self.items, column)]
        categories = Categories(exported.ragged(exported.category_names(self.items, column)))
        recommender = Recommender(config, self.towers, index, self.items.item_id, categories=categories)
        tf.saved_model.save(recommender, str(place / "model"), signatures=recommender.signatures)
        self.forms = [Traced(recommender), Session(place / "model")]
        self._encode = tf.function(self.towers.encode, reduce_retracing=True)
        self._vectors = self.towers.item_vectors()

    def expected(self, history: list[int], excluded: list[int], allowed: list[str]) -> list[str]:
        """The best K items, by their scores alone."""
        read = [i + 1 for i in history][-4:]
        features = {"item_index": tf.constant([read or [0]], tf.int32), "length": tf.constant([len(read)])}
        scores = tf.linalg.matvec(self._vectors, self._encode(features, self._vectors)[0]).numpy()[1:]
        wanted = {name for name in allowed if name}
        may = [
            i
            for i in range(ITEMS)
            if i not in excluded and i not in history and (not wanted or wanted & self._categories[i])
        ]
        return [self.items.item_id[i] for i in sorted(may, key=lambda i: -scores[i])][:K]


@pytest.fixture(scope="module", params=[("brute_force", "colour"), ("scann", "tags")], ids=lambda p: p[0])
def filtered(request, tmp_path_factory):
    return Filtered(*request.param, tmp_path_factory.mktemp("filtered"))


ROW = st.tuples(
    st.lists(st.integers(0, ITEMS - 1), max_size=6),
    st.one_of(
        st.lists(st.integers(0, ITEMS - 1), max_size=8),
        st.permutations(range(ITEMS)).flatmap(lambda order: st.integers(0, 7).map(lambda remaining: order[remaining:])),
    ),
    st.lists(st.sampled_from(["", "", *COLOURS, LATE_COLOUR, "no such colour"]), max_size=3),
)


def batch_of(rows: list[tuple[list[int], list[int], list[str]]]) -> dict[str, np.ndarray]:
    def padded(lists: list[list[str]]) -> np.ndarray:
        width = max(map(len, lists))
        return np.array([[t.encode() for t in row] + [b""] * (width - len(row)) for row in lists], object)

    names = [[f"item-{i:04d}" for i in history] for history, _, _ in rows]
    excluded = [[f"item-{i:04d}" for i in row] for _, row, _ in rows]
    return {
        "user_id": np.array([b"u"] * len(rows), object),
        "history_item_id": padded(names).reshape(len(rows), -1),
        "exclude_item_id": padded(excluded).reshape(len(rows), -1),
        "allowed_category": padded([row for _, _, row in rows]).reshape(len(rows), -1),
        "diversity": np.zeros(len(rows), np.float32),
        "explain": np.zeros(len(rows), bool),
    }


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=4))
def test_the_best_of_what_is_allowed_and_no_others(filtered, rows):
    for call in filtered.forms:
        answer = call("recommend", batch_of(rows))
        for row, items, score in zip(rows, texts(answer["item_id"]), answer["score"], strict=True):
            expected = filtered.expected(*row)
            assert items == expected + [""] * (K - len(expected))
            assert (score[len(expected) :] == 0).all()


def test_a_category_is_filled_however_little_of_the_rest_remains(filtered):
    """All but three items of one category are excluded: no number of items fetched beforehand would find them."""
    everything = [([], [], ["red"]), ([], [i for i in range(ITEMS) if i not in (1, 6, 11)], ["red"])]
    for call in filtered.forms:
        full, few = texts(call("recommend", batch_of(everything))["item_id"])
        assert "" not in full
        assert few == filtered.expected(*everything[1]) + [""] * (K - len(filtered.expected(*everything[1])))


@pytest.fixture(scope="module")
def repeating(tmp_path_factory):
    """A catalogue of K items that may come again, but not within 100 seconds; the tower does not look at times."""
    place = tmp_path_factory.mktemp("repeating")
    config = exported.make_config(everything=False, exclude_history=False, exclude_recent_seconds=100)
    items = exported.make_items(K)
    towers = exported.make_towers(config, items, everything=False)
    index = index_persistence.load(exported.make_index(config, towers, place / "index", "brute_force"))
    recommender = Recommender(config, towers, index, items.item_id)
    tf.saved_model.save(recommender, str(place / "model"), signatures=recommender.signatures)
    return [Traced(recommender), Session(place / "model")]


TIMES = st.one_of(st.integers(1_000, 1_300), st.sampled_from([0, -1, -(2**63), 2**63 - 1]))


@settings(max_examples=60, deadline=None)
@given(
    history=st.lists(st.tuples(st.integers(0, K), TIMES), max_size=8),  # item K is not in the catalogue
    now=st.one_of(st.just(0), TIMES),
)
def test_what_was_had_just_now_does_not_come_back(repeating, history, now):
    known = [time for _, time in history if time > 0]
    reference = now if now > 0 else max(known, default=0)
    recent = {item for item, time in history if time > 0 and time > reference - 100}
    inputs = {
        "user_id": np.array([b"u"], object),
        "history_item_id": np.array([[f"item-{item:04d}".encode() for item, _ in history]], object).reshape(1, -1),
        "history_timestamp": np.array([[time for _, time in history]], np.int64).reshape(1, -1),
        "timestamp": np.array([now], np.int64),
        "exclude_item_id": np.zeros([1, 0], object),
        "diversity": np.zeros(1, np.float32),
        "explain": np.zeros(1, bool),
    }
    for call in repeating:
        answer = set(texts(call("recommend", inputs)["item_id"])[0]) - {""}
        assert answer == {f"item-{i:04d}" for i in range(K)} - {f"item-{i:04d}" for i in recent}


def test_nobody_asks_and_nobody_is_there(filtered):
    for call in filtered.forms:
        empty = {name: value[:0] for name, value in batch_of([([], [], ["red"])]).items()}
        assert call("recommend", empty)["item_id"].shape == (0, K)


@settings(max_examples=40, deadline=None)
@given(
    scores=st.lists(st.lists(st.sampled_from([-np.inf, -1.0, 0.5, 2.0]), min_size=7, max_size=7), max_size=3),
    excluded=st.lists(st.integers(0, 6), max_size=5),
    k=st.integers(1, 9),
)
def test_top_items_excluding(scores, excluded, k):
    values = tf.constant(scores, tf.float32, [len(scores), 7])
    banned = tf.constant(excluded * len(scores), tf.int64, [len(scores), len(excluded)])
    result = top_items_excluding(values, banned, k)
    assert result[0].shape == result[1].shape == (len(scores), k)
    for row, score, item in zip(scores, *(part.numpy() for part in result), strict=True):
        may = [i for i in range(1, 7) if i not in excluded and row[i] > -np.inf]
        expected = sorted(may, key=lambda i: -row[i])[:k]
        assert item.tolist() == expected + [0] * (k - len(expected))
        assert score[: len(expected)].tolist() == [row[i] for i in expected]
        assert np.isneginf(score[len(expected) :]).all()
