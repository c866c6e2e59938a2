from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import tables
from trainer.config import Config
from trainer.data.batches import training_batches, training_windows
from trainer.retrieval.model import RetrievalModel
from trainer.towers.dropout import dropout_rate
from trainer.towers.inputs import item_inputs, user_inputs

MAX_HISTORY = 4
HISTORY = ("item_index", "text", "event", "rating", "timestamp")


def build(config: Config, seed: int = 0) -> tuple:
    items, sequences, texts = tables.everything()
    model = RetrievalModel(
        config, item_inputs(config.model, items, texts), user_inputs(config.model, sequences, texts, True)
    )
    model.attach(items, texts)
    generator = np.random.default_rng(seed)
    for variable in model.trainable_variables:  # so that no input is zero or negligible
        variable.assign_add(generator.normal(size=variable.shape).astype(np.float32) * 0.2)
    return model, items, sequences, texts


@pytest.fixture(scope="module", params=["dot", "cosine"])
def built(request: pytest.FixtureRequest) -> tuple:
    return build(tables.make_config(model={"dim": 16, "max_history": MAX_HISTORY, "similarity": request.param}))


def all_positions(model: RetrievalModel, sequences: tables.SequenceTable) -> dict[str, np.ndarray]:
    windows = training_windows(sequences, MAX_HISTORY, 0.5)
    batches = training_batches(sequences, model.columns, windows, 100, 1, 1)
    batch = next(batches)
    assert next(batches, None) is None
    features = model.features({name: tf.constant(value) for name, value in batch.items()})
    return {name: value.numpy() for name, value in features.items()}


def one_request(features: dict[str, np.ndarray], row: int, position: int) -> dict[str, np.ndarray]:
    """The request just before event `position` of a row."""
    request = {"length": np.array([position], np.int32)}
    for name, value in features.items():
        if name in HISTORY:
            request[name] = value[row : row + 1, :position]
        elif name in ("query", "request_timestamp") or name.startswith("context_"):
            request[name] = value[row : row + 1, position]
        elif name.startswith("profile_"):
            request[name] = value[row : row + 1]
    return request


def test_serving_one_request_equals_training_position(built: tuple) -> None:
    model, _, sequences, _ = built
    features = all_positions(model, sequences)
    vectors = model.item_vectors()
    outputs = model.user_tower(features, vectors).numpy()
    for row, length in enumerate(features["length"]):
        for position in range(length):
            encoded = model.encode(one_request(features, row, position), vectors)
            np.testing.assert_allclose(encoded[0], outputs[row, position], atol=1e-5)


def test_graph_and_eager_agree(built: tuple) -> None:
    model, _, sequences, _ = built
    features, vectors = all_positions(model, sequences), model.item_vectors()
    features = {name: tf.constant(value) for name, value in features.items()}
    graph = tf.function(model.user_tower.call, autograph=False)
    np.testing.assert_allclose(graph(features, vectors), model.user_tower(features, vectors), atol=1e-5)


def test_padding_changes_nothing(built: tuple) -> None:
    model, _, sequences, _ = built
    features, vectors = all_positions(model, sequences), model.item_vectors()
    row = int(features["length"].argmax())
    request = one_request(features, row, 3)
    padded = dict(request)
    for name in HISTORY:
        value = request[name]
        filler = np.full([1, 5, *value.shape[2:]], np.nan if name == "rating" else 1).astype(value.dtype)
        padded[name] = np.concatenate([value, filler], axis=1)
    np.testing.assert_allclose(model.encode(padded, vectors), model.encode(request, vectors), atol=1e-5)


def test_only_the_last_max_history_events_are_read(built: tuple) -> None:
    model, _, sequences, _ = built
    features, vectors = all_positions(model, sequences), model.item_vectors()
    row = int(features["length"].argmax())
    request = one_request(features, row, 4)
    longer = dict(request)
    for name in HISTORY:
        longer[name] = np.concatenate([request[name][:, :1], request[name], request[name][:, :2]], axis=1)
    longer["length"] = np.array([5], np.int32)  # one event before, two places of padding behind
    np.testing.assert_allclose(model.encode(longer, vectors), model.encode(request, vectors), atol=1e-5)


@pytest.mark.parametrize("width", [0, 3])
def test_an_empty_history_works_and_the_query_matters(built: tuple, width: int) -> None:
    model, _, _, _ = built
    request = {
        "item_index": np.zeros([2, width], np.int32),
        "length": np.zeros([2], np.int32),
        "text": np.zeros([2, width, tables.WIDTH], np.float32),
        "event": np.zeros([2, width], np.int32),
        "rating": np.full([2, width], np.nan, np.float32),
        "timestamp": np.zeros([2, width], np.int64),
        "query": np.stack([np.zeros(tables.WIDTH), np.ones(tables.WIDTH)]).astype(np.float32),
        "request_timestamp": np.zeros([2], np.int64),
        "context_device": np.zeros([2], np.int32),
        "profile_age": np.zeros([2], np.int32),
    }
    vectors = model.encode(request, model.item_vectors()).numpy()
    assert np.isfinite(vectors).all()
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


def test_every_weight_learns(built: tuple) -> None:
    model, _, sequences, _ = built
    windows = training_windows(sequences, MAX_HISTORY, 0.5)
    batch = next(training_batches(sequences, model.columns, windows, 100, 1, 1))
    tensors = {name: tf.constant(value) for name, value in batch.items()}
    with tf.GradientTape() as tape:
        loss = model.compute_loss(tensors, training=True)
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    ):
        assert gradient is not None, variable.name
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), variable.name


def test_item_vectors_by_index_features_and_all_at_once_agree(built: tuple) -> None:
    model, items, _, texts = built
    tower = model.item_tower
    all_vectors = tower.all_vectors().numpy()
    assert all_vectors.shape == (len(items) + 1, 16)
    index = np.array([4, 0, 9, 1, 4], np.int32)
    np.testing.assert_allclose(tower.vectors(index), all_vectors[index], atol=1e-6)
    rows = np.array([1, 2, 4, 9], np.int32)
    lists = items.multi_valued["tags"]
    tags = np.zeros([len(rows), 3], np.int32)
    for i, row in enumerate(rows):
        values = lists.values[lists.offsets[row - 1] : lists.offsets[row]]
        tags[i, : len(values)] = values
    features = {
        "item_index": rows,
        "text": np.where(items.text_row[rows - 1] >= 0, texts.vectors[items.text_row[rows - 1]].T, 0).T.astype("f4"),
        "categorical_genre": items.categorical["genre"][rows - 1],
        "multi_valued_tags": tags,
        "numeric_price": items.bucketed["price"][rows - 1],
        "dense_image": items.dense["image"][rows - 1],
    }
    np.testing.assert_allclose(tower(features), all_vectors[rows], atol=1e-5)
    del features["item_index"]
    new = tower(features).numpy()
    assert np.isfinite(new).all()
    assert np.abs(new - all_vectors[rows]).max() > 1e-3, "without its id, an item is represented by its content only"


def test_items_without_train_events_share_the_unknown_id(built: tuple) -> None:
    model, items, _, _ = built
    before = model.item_tower.all_vectors().numpy()
    unseen = int(np.flatnonzero(items.train_count == 0)[0]) + 1
    table = model.item_tower.id_embedding
    before_scatter = table.numpy()
    table.scatter_update(tf.IndexedSlices(tf.ones([1, 16]) * 9, [unseen]))
    np.testing.assert_array_equal(model.item_tower.all_vectors(), before)
    table.scatter_update(tf.IndexedSlices(tf.ones([1, 16]) * 9, [0]))
    assert np.abs(model.item_tower.all_vectors().numpy()[unseen] - before[unseen]).max() > 1e-3
    table.assign(before_scatter)


def test_disabled_inputs_have_no_weights() -> None:
    items, sequences, texts = tables.everything()
    switches = dict.fromkeys(
        ["use_item_text", "use_item_features", "use_event_text", "use_event_features", "use_query", "use_context"],
        False,
    )
    config = tables.make_config(model={"dim": 16, **switches})
    inputs = item_inputs(config.model, items, texts), user_inputs(config.model, sequences, texts, True)
    assert not inputs[0].content
    assert not inputs[1].request
    bare = tables.make_config("order", model={"dim": 16})
    plain_items, plain = tables.item_table(9), tables.sequence_table([[1] * len(sequences.item)])
    same = item_inputs(bare.model, plain_items, None), user_inputs(bare.model, plain, None, False)
    assert dataclasses.astuple(inputs[0]) == dataclasses.astuple(same[0])
    assert dataclasses.astuple(inputs[1]) == dataclasses.astuple(same[1])


def test_order_numbers_are_never_read_as_times() -> None:
    _, sequences, texts = tables.everything()
    inputs = user_inputs(tables.make_config("order").model, sequences, texts, clock=False)
    assert not inputs.clock


def test_more_events_are_dropped_less_unless_set() -> None:
    rates = [dropout_rate("auto", events) for events in (0, 200_000, 400_000, 1_000_000, 10**9)]
    assert rates == pytest.approx([0.5, 0.5, 0.3708, 0.2, 0.2], abs=1e-4)
    assert dropout_rate(0.1, 0) == 0.1


def test_the_train_split_decides_the_dropout() -> None:
    config = tables.make_config()
    items, sequences, texts = tables.everything()
    inputs = user_inputs(config.model, sequences, texts, True)
    assert inputs.train_events == len(sequences.item)
    plenty = dataclasses.replace(inputs, train_events=10**6)
    for user_in, rate in ((inputs, 0.5), (plenty, 0.2)):
        model = RetrievalModel(config, item_inputs(config.model, items, texts), user_in)
        assert model.user_tower.dropout.rate == pytest.approx(rate)


def test_weights_have_the_same_names_in_checkpoints_as_ever(built: tuple, tmp_path: Path) -> None:
    """Models that were trained with earlier versions are read by these names."""
    model = built[0]
    path = tf.train.Checkpoint(item_tower=model.item_tower, user_tower=model.user_tower).write(
        str(tmp_path / "weights")
    )
    names = {name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") for name, _ in tf.train.list_variables(path)}
    own_weights = {
        *("item_scale", "start", "text", "event", "rating", "gap", "query", "context_device", "profile_age"),
        *("whitening/mean", "whitening/directions"),
        *(f"{layer}/{weight}" for layer in ("fusion_hidden", "fusion_output") for weight in ("kernel", "bias")),
    }
    assert {name for name in names if name.startswith("user_tower/") and "/transformer/" not in name} == {
        f"user_tower/{name}" for name in own_weights
    }
    assert {name for name in names if name.startswith("item_tower/")} == {
        *(f"item_tower/{name}" for name in ("id_embedding", "categorical_genre", "multi_valued_tags", "numeric_price")),
        *(f"item_tower/{name}" for name in ("whitening/mean", "whitening/directions", "_stream/step")),
        *(f"item_tower/projections/{name}/kernel" for name in ("dense_image", "text")),
    }
    blocks = {name.split("/")[3] for name in names if name.startswith("user_tower/transformer/blocks/")}
    assert blocks == {str(i) for i in range(model.config.model.layers)}
    assert {"user_tower/transformer/position", "user_tower/transformer/norm/gamma"} < names
