from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from tests.trainer import tables
from trainer.data.tables import ItemTable, SequenceTable, TextVectors
from trainer.evaluation import baselines
from trainer.evaluation.baselines import Scorer

ITEMS = 8
HALVES = [[1, 2, 3, 4], [5, 6, 7, 8]]  # everybody takes from one of them


def taste(users: int = 40) -> SequenceTable:
    generator = np.random.default_rng(1)
    rows = [list(generator.permutation(HALVES[u % 2])[:3]) for u in range(users)]
    return tables.sequence_table([[int(i) for i in row] for row in rows])


def texts() -> tuple[ItemTable, TextVectors]:
    vectors = np.repeat([[1.0, 0.2], [0.2, 1.0]], 4, axis=0).astype(np.float16)
    return tables.item_table(ITEMS, text_row=np.arange(ITEMS, dtype=np.int32)), TextVectors(vectors, "encoder")


def made() -> dict[str, Callable[[], Scorer]]:
    items, vectors = texts()
    train = taste()
    about = baselines.item_text_vectors(items, train, vectors)
    assert about is not None
    return {
        "item-kNN": lambda: baselines.item_knn(items, train),
        "matrix factorisation": lambda: baselines.matrix_factorisation(items, train, 10.0, 1.0, seed=1),
        "text neighbours": lambda: baselines.text_neighbours(items, about, 0.9),
    }


@pytest.mark.parametrize("name", list(made()))
def test_items_similar_to_the_history_rank_first(name: str) -> None:
    score = made()[name]()
    sequences = tables.sequence_table([[1, 2, 6], [7, 1], [0, 5, 3]], targets=1)
    result = score(sequences, np.array([0, 1, 2]))
    assert result.shape == (3, ITEMS + 1)
    assert result.dtype == np.float32
    for row, half in zip(result, (0, 1, 1), strict=True):
        others = [i for i in HALVES[half] if i not in (1, 2, 7, 5)]
        assert row[others].min() > row[HALVES[1 - half]].max()


@pytest.mark.parametrize("name", list(made()))
def test_scores_do_not_depend_on_targets(name: str) -> None:
    score = made()[name]()
    first, second = (tables.sequence_table([[1, 2, target], [target]], targets=1) for target in (3, 8))
    np.testing.assert_array_equal(score(first, np.array([0, 1])), score(second, np.array([0, 1])))


@pytest.mark.parametrize("name", list(made()))
def test_popularity_decides_without_similar_items(name: str) -> None:
    popular = np.array([1, 2, 3, 4, 9, 8, 7, 6])
    items, vectors = texts()
    items = dataclasses.replace(items, train_count=popular)
    about = baselines.item_text_vectors(items, taste(), vectors)
    assert about is not None
    score = {
        "item-kNN": baselines.item_knn(items, taste()),
        "matrix factorisation": baselines.matrix_factorisation(items, taste(), 10.0, 1.0, seed=1),
        "text neighbours": baselines.text_neighbours(items, about),
    }[name]
    result = score(tables.sequence_table([[5], [0, 5]], targets=1), np.array([0, 1]))[:, 1:]
    np.testing.assert_array_equal(np.argsort(-result, axis=1), np.tile(np.argsort(-popular), (2, 1)))


def test_a_seed_repeats() -> None:
    items, train = tables.item_table(ITEMS), taste()
    sequences = tables.sequence_table([[1, 2, 3]], targets=1)
    one, two = (baselines.matrix_factorisation(items, train, 10.0, 1.0, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one(sequences, np.array([0])), two(sequences, np.array([0])))


def test_recent_popularity() -> None:
    """The last tenth of 100 seconds holds two events of item 2 and one of 3; of all events item 1 has most."""
    train = tables.sequence_table([[1, 1, 1, 1, 2, 2, 3]], timestamp=np.array([0, 1, 2, 3, 95, 96, 100], np.int64))
    items = tables.item_table(4, np.array([4, 2, 1, 0]))
    score = baselines.recent_popularity(items, train)(train, np.array([0]))[0]
    assert list(np.argsort(-score[1:], kind="stable") + 1) == [2, 3, 1, 4]
    with pytest.raises(ValueError, match="should have events"):
        baselines.recent_popularity(items, tables.sequence_table([]))


def test_item_knn_can_recommend_own_items_again() -> None:
    items, train = tables.item_table(ITEMS), taste()
    sequences = tables.sequence_table([[1, 2, 2, 6]], targets=1)
    assert baselines.item_knn(items, train, keep_own=True)(sequences, np.array([0]))[0].argmax() == 2


def test_own_items_rank_by_count_then_recency() -> None:
    items = tables.item_table(5, np.array([1, 2, 3, 9, 4]))
    sequences = tables.sequence_table([[1, 2, 2, 3, 5], [5]], targets=1)
    result = baselines.own_items(items)(sequences, np.array([0, 1]))[:, 1:]
    assert list(np.argsort(-result[0], kind="stable") + 1) == [2, 3, 1, 4, 5]
    assert list(np.argsort(-result[1], kind="stable") + 1) == [4, 5, 3, 2, 1]


def test_histories_decay() -> None:
    sequences = tables.sequence_table([[3, 0, 1, 3, 9], [9], [2, 2, 9]], targets=1)
    result = baselines.histories(sequences, np.array([2, 0, 1]), 5, decay=0.5).toarray()
    np.testing.assert_allclose(result, [[0, 0, 1.5, 0, 0], [0, 0.5, 0, 1.125, 0], [0, 0, 0, 0, 0]])


def test_an_items_own_text_takes_precedence_over_texts_of_users() -> None:
    items = tables.item_table(3, text_row=np.array([0, -1, -1], np.int32))
    vectors = TextVectors(np.array([[1, 0], [0, 1], [0, 0.5]], np.float16), "encoder")
    train = tables.sequence_table([[1, 2, 2, 3, 0]], text_row=np.array([1, 1, 2, -1, 1], np.int32))
    result = baselines.item_text_vectors(items, train, vectors)
    np.testing.assert_allclose(result, [[0, 0], [1, 0], [0, 1], [0, 0]])
    without = dataclasses.replace(train, text_row=None)
    assert baselines.item_text_vectors(tables.item_table(3), without, vectors) is None
    assert baselines.item_text_vectors(items, train, None) is None


def test_the_settings_that_measure_best_are_used() -> None:
    """Measured by how low the scores are: the strongest decay."""
    items, vectors = texts()
    train = taste()
    about = baselines.item_text_vectors(items, train, vectors)
    sequences = tables.sequence_table([[1, 2, 3, 5]], targets=1)
    config = tables.make_config()
    user = np.array([0])
    result = baselines.tuned_baselines(config, items, train, about, lambda score: -score(sequences, user).sum())
    assert list(result) == ["popularity", "recent popularity", "item-kNN", "matrix factorisation", "text neighbours"]
    expected = baselines.item_knn(items, train, decay=min(baselines.DECAYS))
    np.testing.assert_allclose(result["item-kNN"](sequences, user), expected(sequences, user))
    repeats = config.model_copy(update={"data": config.data.model_copy(update={"exclude_history": False})})
    assert "own items" in baselines.tuned_baselines(repeats, items, train, None, lambda score: 0.0)
    order = baselines.tuned_baselines(tables.make_config("order"), items, train, None, lambda score: 0.0)
    assert list(order) == ["popularity", "item-kNN", "matrix factorisation"]
    nothing = baselines.tuned_baselines(config, items, tables.sequence_table([]), None, lambda score: 0.0)
    assert list(nothing) == ["popularity"]
