"""Features of the user tower, from the inputs of a request."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from serving.graph.user_inputs import UserInputReader
from tests.serving.exported import make_config
from tests.trainer import tables
from trainer.towers.inputs import UserInputs, user_inputs


@pytest.mark.parametrize(
    ("zero", "missing", "expected"),
    [
        (False, None, [4, np.nan, -1, np.nan]),
        (True, None, [4, 0, -1, np.nan]),
        (False, -1, [4, np.nan, np.nan, np.nan]),
        (True, -1, [4, 0, np.nan, np.nan]),
    ],
    ids=["0 is none", "0 is a rating", "so is the data's own", "the data's own alone"],
)
def test_a_rating_that_is_none(zero, missing, expected):
    config = make_config()
    interactions = config.data.interactions.model_copy(update={"missing_rating": missing})
    config = config.model_copy(update={"data": config.data.model_copy(update={"interactions": interactions})})
    reader = UserInputReader(config, UserInputs(rating=True, rating_zero=zero), None, lambda texts: texts)
    history = {
        "history_item_id": tf.constant([["a", "b", "c", "d", ""]]),
        "history_item_index": tf.constant([[1, 2, 3, 4, 0]], tf.int64),
        "history_rating": tf.constant([[4, 0, -1, np.nan, 5]], tf.float32),
    }
    read = reader.read(history)["rating"].numpy()
    np.testing.assert_array_equal(read, [expected])


@pytest.mark.parametrize("lowest", [0, 1])
def test_zero_is_a_rating_where_training_saw_it_as_one(lowest):
    _, sequences, _ = tables.everything()
    ratings = np.where(np.arange(len(sequences.item)) % 2, np.float32(lowest), np.float32(np.nan))
    changed = dataclasses.replace(sequences, rating=ratings)
    assert user_inputs(make_config().model, changed, None, True).rating_zero == (lowest == 0)
