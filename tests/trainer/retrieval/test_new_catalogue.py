from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import tables
from tests.trainer.towers.test_towers import build
from trainer.data.ragged import Ragged
from trainer.data.tables import ItemTable
from trainer.retrieval import new_catalogue
from trainer.retrieval.model import RetrievalModel
from trainer.towers.inputs import ItemInputs

NEW = "item-00000"  # sorts before all others, so that every row changes
GONE = 4  # row of an item that leaves


@pytest.fixture(scope="module", params=["dot", "cosine", "own id for all", "rare ids shared", "no ids"])
def trained(request: pytest.FixtureRequest) -> tuple:
    settings = {
        "cosine": {"similarity": "cosine"},
        "own id for all": {"min_id_count": 0},
        "rare ids shared": {"min_id_count": 3},
        "no ids": {"use_item_id": False},
    }
    return build(tables.make_config(model={"dim": 16, "max_history": 4, **settings.get(request.param, {})}))


def changed(items: ItemTable) -> ItemTable:
    """A new item that looks like the second one in all but its id, without one item, and with counts unknown."""
    rows = np.array([1, *(row for row in range(len(items)) if row != GONE)])
    lists = items.multi_valued["tags"]
    values = [lists.values[lists.offsets[row] : lists.offsets[row + 1]] for row in rows]
    return dataclasses.replace(
        items,
        item_id=np.array([NEW, *np.delete(items.item_id, GONE)], object),
        title=items.title[rows],
        text_row=items.text_row[rows],
        train_count=np.zeros(len(rows), np.int64),
        occurs=np.zeros(len(rows), bool),
        categorical={name: column[rows] for name, column in items.categorical.items()},
        multi_valued={
            "tags": Ragged(np.concatenate(values), np.concatenate([[0], np.cumsum([len(v) for v in values])]))
        },
        bucketed={name: column[rows] for name, column in items.bucketed.items()},
        dense={name: column[rows] for name, column in items.dense.items()},
    )


def test_known_items_keep_their_vectors_wherever_they_stand(trained: tuple) -> None:
    model, items, _, texts = trained
    counted = new_catalogue.with_trained_counts(changed(items), items)
    moved = new_catalogue.model_for_catalogue(model, items, counted, texts)
    before, after = model.item_vectors().numpy(), moved.item_vectors().numpy()
    np.testing.assert_allclose(after[0], before[0], atol=1e-6)
    np.testing.assert_allclose(after[2:], np.delete(before[1:], GONE, axis=0), atol=1e-6)
    np.testing.assert_allclose(moved.item_tower.all_vectors().numpy(), after, atol=1e-6)


def test_a_new_item_has_the_vector_that_the_tower_gives_its_content(trained: tuple) -> None:
    model, items, _, texts = trained
    moved = new_catalogue.model_for_catalogue(
        model, items, new_catalogue.with_trained_counts(changed(items), items), texts
    )
    content = {
        "text": texts.vectors[items.text_row[1:2]].astype(np.float32),
        "categorical_genre": items.categorical["genre"][1:2],
        "numeric_price": items.bucketed["price"][1:2],
        "dense_image": items.dense["image"][1:2],
        "multi_valued_tags": np.zeros([1, 1], np.int32),  # that item has none
    }
    by_content = model.item_tower({name: tf.constant(value) for name, value in content.items()}).numpy()[0]
    np.testing.assert_allclose(moved.item_vectors().numpy()[1], by_content, atol=1e-6)


def test_events_are_those_of_the_training_and_a_new_item_has_none(trained: tuple) -> None:
    _, items, _, _ = trained
    counted = new_catalogue.with_trained_counts(changed(items), items)
    np.testing.assert_array_equal(counted.train_count, [0, *np.delete(items.train_count, GONE)])
    np.testing.assert_array_equal(counted.occurs, [False, *np.delete(items.occurs, GONE)])
    assert counted.train_count[0] == 0


def test_users_keep_their_vectors_and_the_given_model_is_not_touched(trained: tuple) -> None:
    model, items, _, texts = trained
    before = [variable.numpy() for variable in model.variables]
    vectors = model.item_vectors().numpy()
    moved = new_catalogue.model_for_catalogue(
        model, items, new_catalogue.with_trained_counts(changed(items), items), texts
    )
    row = {0: 0} | {row + 1: place for place, row in enumerate(np.delete(np.arange(len(items)), GONE), 2)}
    history = np.array([[2, 6, 1, 0]], np.int32)

    def user(towers: RetrievalModel, index: np.ndarray) -> np.ndarray:
        width = tables.WIDTH
        features = {
            "item_index": index,
            "length": [3],
            "text": np.zeros([1, 4, width], np.float32),
            "query": np.ones([1, width], np.float32),
            "event": np.ones([1, 4], np.int32),
            "rating": np.full([1, 4], 3.0, np.float32),
            "timestamp": np.full([1, 4], 1_600_000_000, np.int64),
            "request_timestamp": np.array([1_600_000_500], np.int64),
            "context_device": [1],
            "profile_age": [2],
        }
        tensors = {name: tf.constant(value) for name, value in features.items()}
        return towers.encode(tensors, towers.item_vectors()).numpy()

    moved_history = np.vectorize(row.__getitem__)(history).astype(np.int32)
    np.testing.assert_allclose(user(moved, moved_history), user(model, history), atol=1e-5)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    np.testing.assert_array_equal(model.item_vectors().numpy(), vectors)


def test_a_model_of_ids_alone_has_one_vector_for_all_new_items() -> None:
    config = tables.make_config(model={"dim": 8})
    items = tables.item_table(3)
    model = RetrievalModel(config, ItemInputs(items=3), build(config)[0].user_tower.inputs)
    model.attach(items, tables.everything()[2])
    more = tables.item_table(5, train_count=np.zeros(5))
    moved = new_catalogue.model_for_catalogue(
        model, items, new_catalogue.with_trained_counts(more, items), tables.everything()[2]
    )
    vectors = moved.item_vectors().numpy()
    np.testing.assert_allclose(vectors[:4], model.item_vectors().numpy(), atol=1e-6)
    np.testing.assert_allclose(vectors[4:], vectors[[0, 0]], atol=1e-6)
