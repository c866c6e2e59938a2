"""What else is asked of a model than a list of items, of a model with every kind of input, in the forms it ships in."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from serving.client import PredictionClient, ServingError
from serving.export import warm_up_records
from serving.graph.categories import Categories
from serving.graph.recommender import Recommender
from serving.wire.scores import NO_SCORE
from tests.serving import exported
from tests.serving.exported import CANDIDATES, COLOURS, Session, Traced, request, texts, user_only
from tests.support import tiny_bert
from trainer.data.tables import TextVectors
from trainer.data.transform_graph import TransformGraph
from trainer.index import persistence as index_persistence
from trainer.text.pretrained import load_encoder
from trainer.towers.inputs import ItemInputs

pytestmark = pytest.mark.slow

ITEMS = 40
OWN_ID = 20  # items from here on have an id embedding of their own; the others are known by their features alone
DESCRIPTIONS = ("", "a good read", "cheap\tand new")


class Model:
    def __init__(self, place) -> None:
        bert = tiny_bert.write(place / "bert")
        config = exported.make_config(bert, category="colour", model={"min_id_count": OWN_ID})
        encoder = load_encoder(bert, config.text.max_tokens)
        items = exported.make_items(ITEMS)
        written = [f"{title}\n{DESCRIPTIONS[i % 3]}" for i, title in enumerate(items.title)]
        stored = TextVectors(encoder(tf.constant(written)).numpy().astype(np.float16), bert)
        items = type(items)(**{**vars(items), "text_row": np.arange(ITEMS, dtype=np.int32)})
        inputs = ItemInputs(ITEMS, tiny_bert.WIDTH, {"colour": 5}, {"tags": 5}, {"price": 5}, {"image": 3})
        towers = exported.make_towers(config, items, item_inputs=inputs, texts=stored)
        item_transform = TransformGraph(exported.make_item_transform(config, place / "item_transform"))
        self.items, self.ranker = items, exported.make_ranker(config, items, rated=True)
        self.vectors = towers.item_vectors().numpy()
        self.recommender = Recommender(
            config,
            towers,
            index_persistence.load(exported.make_index(config, towers, place / "index", "brute_force")),
            items.item_id,
            encoder,
            TransformGraph(exported.make_transform(config, place / "transform")),
            self.ranker,
            Categories(exported.ragged(exported.category_names(items, "colour"))),
            item_transform,
        )
        self.base_path = place / "served"
        version = self.base_path / "1"
        tf.saved_model.save(self.recommender, str(version), signatures=self.recommender.signatures)
        self.traced, self.session = Traced(self.recommender), Session(version)

    def described(self, chosen: list[int]) -> dict[str, np.ndarray]:
        """Rows of the items table, as they stand there."""
        tags = self.items.multi_valued["tags"]
        rows = [[COLOURS[t - 1] for t in tags.values[tags.offsets[i] : tags.offsets[i + 1]]] for i in chosen]
        price = self.items.bucketed["price"][chosen]

        def strings(*rows: list[str]) -> np.ndarray:
            return np.array([[text.encode() for text in row] for row in rows], object)

        return {
            "item_id": strings([""] * len(chosen))[0],
            "text_title": strings([f" {self.items.title[i]}" for i in chosen])[0],
            "text_description": strings([DESCRIPTIONS[i % 3] for i in chosen])[0],
            "categorical_colour": strings([["", *COLOURS][i % 5] for i in chosen])[0],
            "multi_valued_tags": strings(*(([*row, *row, "", "no such tag"] + [""] * 6)[:6] for row in rows)),
            "numeric_price": np.where(price > 0, price * 20.0 - 19.0, np.nan).astype(np.float32),
            "dense_image": self.items.dense["image"][chosen],
        }


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(tmp_path_factory.mktemp("signatures"))


@pytest.fixture(params=["traced", "session"])
def call(model, request):
    return getattr(model, request.param)


def test_new_items_are_encoded_as_the_tower_encodes_them(model, call):
    """Those without an id embedding of their own are in the index as their features make them."""
    chosen = list(range(OWN_ID))
    embeddings = call("encode_item", model.described(chosen))["embedding"]
    np.testing.assert_allclose(embeddings, model.vectors[1 : OWN_ID + 1], atol=2e-2)
    assert np.abs(embeddings[1:] - embeddings[:-1]).max(axis=1).min() > 0.5


@pytest.mark.parametrize(
    "name",
    ["text_title", "text_description", "categorical_colour", "multi_valued_tags", "numeric_price", "dense_image"],
)
def test_every_feature_of_an_item_counts(model, call, name):
    inputs = model.described([1])
    before = call("encode_item", inputs)["embedding"]
    other = model.described([8])[name]
    assert np.abs(call("encode_item", {**inputs, name: other})["embedding"] - before).max() > 0.01


def test_an_item_of_the_catalogue_has_its_vector_there(model, call):
    inputs = model.described([3, 30, 3])
    inputs["item_id"] = np.array([b"item-0030", b"item-0003", b"new"], object)
    embeddings = call("encode_item", inputs)["embedding"]
    np.testing.assert_array_equal(embeddings[:2], model.vectors[[31, 4]])
    np.testing.assert_allclose(embeddings[2], model.vectors[4], atol=2e-2)


def test_rank_scores_as_recommend_does(model, call):
    inputs = request(2)
    answer, users = call("recommend", inputs), call("encode_user", user_only(inputs))["embedding"]
    some = [[f"item-{(7 * i + row) % ITEMS:04d}".encode() for i in range(2 * CANDIDATES)] for row in range(2)]
    candidates = np.concatenate(
        [np.array([[b"no such item"], [b""]], object), answer["item_id"], np.array(some, object)], axis=1
    )
    ranked = call("rank", {**user_only(inputs), "candidate_item_id": candidates})
    np.testing.assert_array_equal(ranked["score"][:, 0], np.float32(NO_SCORE))
    np.testing.assert_array_equal(ranked["retrieval_score"][:, 0], np.float32(NO_SCORE))
    shown = slice(1, 1 + answer["item_id"].shape[1])
    np.testing.assert_allclose(ranked["score"][:, shown], answer["score"], rtol=1e-4, atol=1e-4)
    index = [[int(i[-4:]) + 1 for i in row[1:]] for row in texts(candidates)]
    expected = np.einsum("bnd,bd->bn", model.vectors[index], users)
    np.testing.assert_allclose(ranked["retrieval_score"][:, 1:], expected, rtol=1e-4, atol=1e-4)
    assert set(ranked) == {"score", "retrieval_score", "rating", "liked"}
    assert ((ranked["liked"][:, 1:] >= 0) & (ranked["liked"][:, 1:] <= 1)).all()
    assert np.ptp(ranked["rating"][:, 1:]) > 0.01
    assert (ranked["liked"][:, 0] == np.float32(NO_SCORE)).all()
    reverse = call("rank", {**user_only(inputs), "candidate_item_id": candidates[:, ::-1]})
    np.testing.assert_allclose(reverse["score"], ranked["score"][:, ::-1], rtol=1e-4, atol=1e-4)
    assert call("rank", {**user_only(inputs), "candidate_item_id": candidates[:, :0]})["score"].shape == (2, 0)


def test_rank_says_of_ratings_what_the_ranking_model_says(model, call):
    inputs = request(2)
    candidates = [3, 30, 11]
    named = np.array([[f"item-{i:04d}".encode() for i in candidates]] * 2, object)
    ranked = call("rank", {**user_only(inputs), "candidate_item_id": named})
    features = {
        "user_vector": call("encode_user", user_only(inputs))["embedding"],
        "item_index": np.array([[int(i[-4:]) + 1 for i in row] for row in texts(inputs["history_item_id"])], np.int32),
        "length": np.array([3, 3], np.int32),
        "candidate": np.array([candidates] * 2, np.int32) + 1,
        "retrieval_score": ranked["retrieval_score"],
        "rating": inputs["history_rating"],
    }
    expected = model.ranker.score(features, model.vectors)
    for name in ("rating", "liked"):
        np.testing.assert_allclose(ranked[name], expected[name], rtol=1e-3, atol=1e-3)
    del features["rating"]
    assert np.abs(ranked["rating"] - model.ranker.score(features, model.vectors)["rating"]).max() > 0.01


def test_similar_items(model, call):
    unit = model.vectors / np.linalg.norm(model.vectors, axis=1, keepdims=True)
    inputs = {
        "item_id": np.array([b"item-0005", b"item-0006", b"no such item"], object),
        "exclude_item_id": np.array([[b"", b""], [b"item-0005", b"item-0001"], [b"", b""]], object),
    }
    answer = call("similar_items", inputs)
    for row, (item, excluded) in enumerate([(6, []), (7, [6, 2])]):
        cosines = unit @ unit[item]
        cosines[[0, item, *excluded]] = -np.inf
        best = np.argsort(-cosines)[: answer["score"].shape[1]]
        assert texts(answer["item_id"])[row] == [model.items.item_id[i - 1] for i in best]
        np.testing.assert_allclose(answer["score"][row], cosines[best], atol=1e-5)
    assert set(texts(answer["item_id"])[2]) == {""}


def without_event(inputs: dict[str, np.ndarray], row: int, column: int) -> dict[str, np.ndarray]:
    alone = {name: value[row : row + 1] for name, value in user_only(inputs).items()}
    return {n: np.delete(v, column, axis=1) if n.startswith("history_") else v for n, v in alone.items()}


@pytest.mark.parametrize("events", [0, 1, 3, 7])
def test_reasons_are_those_of_asking_again_without_each_event(model, call, events):
    """Also where more is known than is read: without one of the last four, the event before them is read."""
    inputs = request(3, events, explain=[True, False, True], diversity=[0.0, 0.0, 0.5])
    if events == 7:
        inputs["history_item_id"][0, [2, 5]] = b""  # padding within
        inputs["history_item_id"][2, 3:] = b""
    answer = call("recommend", inputs)
    reasons = answer["reason_history_position"]
    assert (reasons[1] == -1).all()
    assert (call("recommend", {**inputs, "explain": np.zeros(3, bool)})["reason_history_position"] == -1).all()
    for row in (0, 2):
        present = np.flatnonzero(inputs["history_item_id"][row] != b"")
        index = [int(i[-4:]) + 1 for i in texts(answer["item_id"])[row]]
        lost = np.full((max(events, 1), len(index)), -np.inf)
        for column in present[-4:]:
            user = call("encode_user", without_event(inputs, row, column))["embedding"][0]
            lost[column] = answer["retrieval_score"][row] - model.vectors[index] @ user
        expected = np.where(lost.max(axis=0) > 0, lost.argmax(axis=0), -1)
        np.testing.assert_array_equal(reasons[row], expected)
    if events > 1:
        assert (reasons[[0, 2]] >= 0).any()


def embedded(call, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same request with the vectors of its texts."""
    inputs = dict(inputs)
    for name in ("history_text", "query_text"):
        written = inputs.pop(name)
        vectors = call("encode_text", {"text": written.reshape(-1)})["embedding"]
        inputs[f"{name}_embedding"] = vectors.reshape(*written.shape, -1)
    return inputs


def test_vectors_in_place_of_texts_give_the_same_answer(call):
    inputs = request(2, 6, explain=[True, True], query_text=["guitar music", ""])
    a, b = call("recommend", inputs), call("recommend_embedded", embedded(call, inputs))
    assert set(a) == set(b)
    np.testing.assert_array_equal(a["item_id"], b["item_id"])
    np.testing.assert_array_equal(a["reason_history_position"], b["reason_history_position"])
    np.testing.assert_allclose(a["score"], b["score"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e20, 3e38])
def test_vectors_that_are_no_numbers_or_too_large_are_named(model, call, value):
    """Answered, they would lead to scores that are no numbers, or to nothing."""
    inputs = embedded(call, request(1))
    requests = [(name, "recommend_embedded", inputs) for name in ("history_text_embedding", "query_text_embedding")]
    for name, signature, sent in [*requests, ("dense_image", "encode_item", model.described([1]))]:
        wrong = np.where(np.arange(sent[name].size) == 1, np.float32(value), sent[name].ravel())
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{name}` should be finite"):
            call(signature, {**sent, name: wrong.reshape(sent[name].shape)})


def test_vectors_of_no_text_but_longer_than_any_are_named(call):
    inputs = embedded(call, request(1))
    inputs["query_text_embedding"] *= np.float32(1.005)  # as half precision may have it
    call("recommend_embedded", inputs)
    inputs["query_text_embedding"] *= 2
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`query_text_embedding` .* none longer than 1"):
        call("recommend_embedded", inputs)


def test_every_signature_answers_its_warm_up_requests(model, call):
    requests = warm_up_records.example_requests(model.recommender.signatures, model.items)
    assert {name for name, _ in requests} == set(model.recommender.signatures)
    for name, inputs in requests:
        answer = call(name, inputs)
        assert all(np.isfinite(v).all() for v in answer.values() if v.dtype == np.float32)


def test_over_the_wire(model, start):
    """Clients receive through the server what the graph returns."""
    call, inputs = model.session, request(2, 3, explain=[True, False], diversity=[0.0, 0.4])
    candidates = np.array([[b"item-0001", b"item-0039"]] * 2, object)
    requests = {
        "recommend": inputs,
        "recommend_embedded": embedded(call, inputs),
        "rank": {**user_only(inputs), "candidate_item_id": candidates},
        "encode_user": user_only(inputs),
        "encode_item": model.described([1, 2]),
        "similar_items": {"item_id": candidates[:, 0], "exclude_item_id": candidates[:, 1:]},
    }
    with PredictionClient(start(model.base_path).address, "tiny", timeout=60.0) as client:
        for name, sent in requests.items():
            expected, received = call(name, sent), client.predict(name, sent)
            assert set(expected) == set(received), name
            for output, value in expected.items():
                if value.dtype == object:
                    assert texts(value) == texts(received[output])
                else:
                    np.testing.assert_allclose(received[output], value, rtol=1e-4, atol=1e-4)
        with pytest.raises(ServingError, match=r"`diversity` should be from 0 to 1") as refused:
            client.predict("recommend", {**inputs, "diversity": np.full(2, np.nan, np.float32)})
        assert refused.value.code == "INVALID_ARGUMENT"
