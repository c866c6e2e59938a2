"""Batches of users, and every signature of a recommender: a model that returns its inputs as item ids."""

import numpy as np
import pytest

from serving.client import HistoryEvent, RecommenderClient, ServingError, UserRequest
from serving.pseudonyms import pseudonym
from tests.serving.awaited import Awaited


def save(directory):
    import tensorflow as tf

    def tensor(name, *shape, dtype=tf.string):
        return tf.TensorSpec(shape, dtype, name)

    def joined(name, value):
        return tf.strings.join([name, "=", tf.strings.reduce_join(value, -1, keepdims=True, separator=",")])

    def numbers(value):
        return tf.strings.as_string(value, precision=1)

    user = [tensor("user_id", None), tensor("history_item_id", None, None)]

    class Echo(tf.Module):
        @tf.function(
            input_signature=[
                *user,
                tensor("history_text", None, None),
                tensor("history_text_embedding", None, None, 2, dtype=tf.float32),
                tensor("exclude_item_id", None, None),
                tensor("allowed_category", None, None),
                tensor("diversity", None, dtype=tf.float32),
                tensor("query_text_embedding", None, 2, dtype=tf.float32),
                tensor("tags", None, None),
                tensor("age", None, dtype=tf.float32),
                tensor("explain", None, dtype=tf.bool),
            ]
        )
        def recommend(self, user_id, history, text, vectors, exclude, allowed, diversity, query, tags, age, explain):
            values = {
                "user": user_id[:, None],
                "history": history,
                "text": text,
                "vectors": numbers(tf.reduce_sum(vectors, -1)),
                "exclude": exclude,
                "allowed": allowed,
                "diversity": numbers(diversity)[:, None],
                "query": numbers(query),
                "tags": tags,
                "age": numbers(age)[:, None],
                "explain": tf.strings.as_string(explain)[:, None],
            }
            item_id = tf.concat([joined(name, value) for name, value in values.items()], 1)
            ones = tf.ones_like(item_id, tf.float32)
            position = tf.cast(tf.cumsum(ones, 1), tf.int32) - 2
            return {"item_id": item_id, "score": ones, "reason_history_position": position}

        @tf.function(input_signature=[*user, tensor("candidate_item_id", None, None)])
        def rank(self, user_id, history, candidate):
            known = tf.strings.regex_full_match(candidate, "[^?]*")
            return {"score": tf.where(known, tf.cast(tf.strings.length(candidate), tf.float32), tf.float32.min)}

        @tf.function(input_signature=[tensor("item_id", None), tensor("exclude_item_id", None, None)])
        def similar_items(self, item_id, exclude):
            similar = tf.stack([item_id + "-a", item_id + "-b"], 1)
            similar = tf.where(tf.reduce_any(similar[:, :, None] == exclude[:, None, :], -1), "", similar)
            return {"item_id": similar, "score": tf.ones_like(similar, tf.float32)}

        @tf.function(input_signature=[tensor("text", None)])
        def encode_text(self, text):
            return {"embedding": tf.tile(tf.cast(tf.strings.length(text), tf.float32)[:, None], [1, 3])}

        @tf.function(input_signature=[tensor("item_id", None), tensor("tags", None, None), tensor("price", None)])
        def encode_item(self, item_id, tags, price):
            lengths = [tf.strings.length(item_id), tf.reduce_sum(tf.strings.length(tags), 1), tf.strings.length(price)]
            return {"embedding": tf.cast(tf.stack(lengths, 1), tf.float32)}

        @tf.function(input_signature=user)
        def encode_user(self, user_id, history):
            own = tf.reduce_sum(tf.strings.length(history), 1)
            return {"embedding": tf.cast(tf.stack([tf.strings.length(user_id), own], 1), tf.float32)}

        @tf.function(input_signature=[tensor("user_id", None)])
        def numbered(self, user_id):
            return {"item_id": tf.ones([1, 1], tf.int64), "score": tf.ones([1, 1])}

        @tf.function(input_signature=[tensor("user_id", None)])
        def uneven(self, user_id):
            return {"item_id": user_id[:, None], "score": tf.ones([1, 2])}

    model = Echo()
    names = (
        *("recommend", "rank", "similar_items", "encode_text", "encode_item", "encode_user"),
        *("numbered", "uneven"),
    )
    tf.saved_model.save(model, str(directory), signatures={name: getattr(model, name) for name in names})


@pytest.fixture(scope="module")
def server(start, tmp_path_factory):
    base_path = tmp_path_factory.mktemp("echo")
    save(base_path / "5")
    return start(base_path)


@pytest.fixture(params=[RecommenderClient, Awaited], ids=["blocking", "asyncio"])
def client(server, request):
    with request.param(server.address, "tiny", timeout=10) as client:
        yield client


def echoed_inputs(items):
    return dict(item.item_id.split("=", 1) for item in items)


def item_ids(items):
    return [item.item_id for item in items]


NOTHING = {
    "user": "",
    "history": "",
    "text": "",
    "vectors": "",
    "exclude": "",
    "allowed": "",
    "diversity": "0.0",
    "query": "0.0,0.0",
    "tags": "",
    "age": "0.0",
    "explain": "false",
}


def test_many_users_in_one_call(client):
    first = UserRequest(
        "u1",
        history=[HistoryEvent("a", "quiet", text_embedding=[1, 2]), "b"],
        allowed_categories=["novel", "诗"],
        diversity=0.5,
        explain=True,
        query_embedding=np.array([0.5, 1.0]),
        features={"tags": ["x", "y"], "age": 30},
    )
    second = UserRequest("u2", history=["c"], exclude=(item_id for item_id in ("d", "e", "f")))
    one, two, three = client.recommend_many([first, second, UserRequest()])
    assert echoed_inputs(one) == {
        **NOTHING,
        "user": "u1",
        "history": "a,b",
        "text": "quiet,",
        "vectors": "3.0,0.0",
        "exclude": ",,",
        "allowed": "novel,诗",
        "diversity": "0.5",
        "query": "0.5,1.0",
        "tags": "x,y",
        "age": "30.0",
        "explain": "true",
    }
    padding = {"history": ",", "text": ",", "vectors": "0.0,0.0", "exclude": ",,", "allowed": ",", "tags": ","}
    assert echoed_inputs(two) == {**NOTHING, **padding, "user": "u2", "history": "c,", "exclude": "d,e,f"}
    assert echoed_inputs(three) == {**NOTHING, **padding}
    assert [items.version for items in (one, two, three)] == [5, 5, 5]
    assert not one.is_fallback
    assert [item.reason_history_position for item in one][:3] == [-1, 0, 1]
    assert one[0].retrieval_score is None


def test_one_user_is_a_batch_of_one(client):
    request = {"user_id": "u1", "history": ["a"], "exclude": ["b"], "allowed_categories": ["c"], "diversity": 1.0}
    assert client.recommend(**request) == client.recommend_many([UserRequest(**request)])[0]


def test_nothing_said_is_nothing_sent(client):
    assert echoed_inputs(client.recommend()) == NOTHING
    assert client.recommend_many([]) == []


def test_k_holds_for_each_user(client):
    assert [len(items) for items in client.recommend_many([UserRequest()] * 3, k=4)] == [4, 4, 4]


@pytest.mark.parametrize(
    "request_",
    [
        UserRequest(query_embedding=[1.0]),
        UserRequest(history=[HistoryEvent("a", text_embedding=[1.0])]),
        UserRequest(features={"tags": "x"}),
        UserRequest(features={"tags": 3}),
        UserRequest(features={"tags": [["x"]]}),
        UserRequest(features={"age": [3.0, 4.0]}),
        "u1",
    ],
)
def test_what_no_row_can_hold_is_refused_by_name(client, request_):
    with pytest.raises(ServingError, match="`") as caught:
        client.recommend_many([UserRequest("u2"), request_])
    assert caught.value.code == "INVALID_ARGUMENT"


def test_an_input_the_signature_lacks_is_named_whoever_says_it(client):
    with pytest.raises(ServingError, match=r"no input query_text; it has: age, allowed_category"):
        client.recommend_many([UserRequest("u1"), UserRequest("u2", query="quiet")])
    with pytest.raises(ServingError, match=r"no input allowed_category; it has: candidate_item_id, history_item_id"):
        client.rank(UserRequest(allowed_categories=["novel"]), ["a"])


def test_rank_orders_given_items(client):
    items = client.rank(UserRequest("u1", history=["a"]), ["i", "iii", "unknown?", "ii", "iii"])
    assert [(item.item_id, item.score) for item in items] == [("iii", 3), ("ii", 2), ("i", 1)]
    assert items.version == 5
    with pytest.raises(ServingError, match="`item_ids` should hold at least one"):
        client.rank(UserRequest(), [])


def test_similar_items(client):
    one, two = client.similar_items(["x", "y"], exclude=["x-a"], k=1)
    assert (item_ids(one), item_ids(two)) == (["x-b"], ["y-a"])


def test_vectors(client):
    np.testing.assert_array_equal(client.encode_text(["ab", "", "你"]), [[2] * 3, [0] * 3, [3] * 3])
    np.testing.assert_array_equal(client.encode_item(["abc", ""]), [[3, 0, 0], [0, 0, 0]])
    new = [{"tags": ["x", "yz"]}, {"price": "9.50"}]
    np.testing.assert_array_equal(client.encode_item(["", "abc"], features=new), [[0, 3, 0], [3, 0, 4]])
    users = [UserRequest("u", history=["a", "bcd"]), UserRequest("u22")]
    np.testing.assert_array_equal(client.encode_user(users), [[1, 4], [3, 0]])
    with pytest.raises(ServingError, match="`texts` should be a list of strings"):
        client.encode_text("ab")
    for wrong in ([{}], [{}, {"item_id": "a"}]):
        with pytest.raises(ServingError, match="`features` should hold one mapping for each of the 2 items"):
            client.encode_item(["a", "b"], features=wrong)


def test_a_signature_the_model_lacks(client):
    with pytest.raises(ServingError, match=r'no signature "retrieve"; it has: encode_item, .*recommend') as caught:
        client.recommend(signature="retrieve")
    assert caught.value.code == "FAILED_PRECONDITION"


@pytest.mark.parametrize(
    ("signature", "message"),
    [("numbered", "`item_id` should be of strings. It is of int64"), ("uneven", r"of one shape\. Received: item_id")],
)
def test_outputs_that_are_no_recommendations(client, signature, message):
    with pytest.raises(ServingError, match=message) as caught:
        client.recommend(user_id="u", signature=signature)
    assert caught.value.code == "FAILED_PRECONDITION"


def test_pseudonyms_of_candidates_come_back_as_they_were_given(server, tmp_path):
    key = tmp_path / "key"
    key.write_text("0123456789abcdef")
    with RecommenderClient(server.address, "tiny", timeout=10, pseudonym_key_file=str(key)) as client:
        assert set(item_ids(client.rank(UserRequest("u1"), ["i", "ii"]))) == {"i", "ii"}
        assert echoed_inputs(client.recommend(user_id="u1"))["user"] == pseudonym(key.read_bytes(), "u1")
        assert client.encode_item(["i"])[0, 0] == 43  # a pseudonym's length
