from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer import tables
from trainer.evaluation import lists


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lists of distinct items, some of them short; train events of the items; contents, some of them unknown."""
    items, users = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    k = draw(st.integers(1, items))
    rows = []
    for _ in range(users):
        chosen = draw(st.permutations(range(1, items + 1)))[: draw(st.integers(0, k))]
        rows.append([*chosen, *[0] * (k - len(chosen))])
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    content = generator.normal(size=[items + 1, 3]) * (generator.random([items + 1, 1]) < 0.7)
    return np.array(rows, np.int32), generator.integers(0, 9, items), content


@settings(max_examples=100, deadline=None)
@given(cases(), st.data())
def test_as_defined(case: tuple, data: st.DataObject) -> None:
    """Against loops over users and pairs."""
    recommended, counts, content = case
    items = tables.item_table(len(counts), train_count=counts)
    histories = [
        [*data.draw(st.lists(st.integers(0, len(counts)), max_size=5)), data.draw(st.integers(1, len(counts)))]
        for _ in recommended
    ]
    sequences = tables.sequence_table(histories, targets=1)
    result = lists.figures(recommended, items, sequences, np.arange(len(recommended)), content, cold=2)
    count = {i + 1: int(c) for i, c in enumerate(counts)}
    novelty, cold, diversity, shown, taken = [], [], [], [], []
    for row, history in zip(recommended, histories, strict=True):
        there = [int(i) for i in row if i]
        before = [count[i] for i in history[:-1] if i]
        if there:
            novelty.append(np.mean([-np.log2((count[i] + 1) / (sum(counts) + len(counts))) for i in there]))
            cold.append(np.mean([count[i] <= 2 for i in there]))
            if before:
                shown.append(np.mean([count[i] for i in there]))
                taken.append(np.mean(before))
        pairs = [(content[a], content[b]) for a, b in itertools.combinations(there, 2)]
        apart = [1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs if a.any() and b.any()]
        if apart:
            diversity.append(np.mean(apart))
    assert result["novelty"].value == pytest.approx(np.mean(novelty or [0]))
    assert result["cold_share"].value == pytest.approx(np.mean(cold or [0]))
    assert result["diversity"].value == pytest.approx(np.mean(diversity or [0]), abs=1e-6)
    lift = np.sum(shown) / np.sum(taken) - 1 if np.sum(taken) else 0.0
    assert result["popularity_lift"].value == pytest.approx(lift)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_coverage_and_gini_as_defined(case: tuple) -> None:
    recommended, counts, _ = case
    candidates = np.ones(len(counts) + 1, bool)
    candidates[0] = False
    shown = lists.exposure(recommended, candidates)
    assert shown.sum() == np.count_nonzero(recommended)
    assert lists.coverage(shown) == len(set(recommended.ravel()) - {0}) / len(counts)
    total = sum(abs(int(a) - int(b)) for a, b in itertools.product(shown, shown))
    expected = total / (2 * len(shown) * shown.sum()) if shown.sum() else 0.0  # half the relative mean difference
    assert lists.gini(shown) == pytest.approx(expected)


def test_gini_by_hand() -> None:
    assert lists.gini(np.array([5, 5, 5])) == pytest.approx(0.0)
    assert lists.gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)


def test_aggregates_lie_in_their_intervals() -> None:
    generator = np.random.default_rng(1)
    recommended = np.stack([generator.choice(200, 10, replace=False) + 1 for _ in range(300)]).astype(np.int32)
    candidates = np.arange(301) > 0
    for value, interval in lists.aggregates(recommended, candidates, seed=1).values():
        assert interval is not None
        assert interval[0] <= value <= interval[1]
    few = lists.aggregates(recommended[:5], candidates, seed=1)
    assert few["coverage"][1] is None
