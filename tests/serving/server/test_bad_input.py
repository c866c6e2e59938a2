"""What a served recommender does with input that is odd, wrong or no input at all, by gRPC and by REST.

What is odd is answered like the ordinary request that it amounts to. What is wrong is refused with the contract's code
and a message that names the input. Whatever came, the next call is answered.
"""

import socket

import grpc
import numpy as np
import pytest

from tests.serving import exported
from tests.serving.exported import ids_only, request, texts
from tests.serving.raw_calls import Wire
from tests.support import tiny_bert
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

K = exported.K
EARLIEST, LATEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
WORDS = "guitar music " * (2**20 // 13)


@pytest.fixture(scope="module")
def wire(recommender, start):
    with Wire(start(recommender, f"--rest_api_port={free_port()}"), "tiny") as wire:
        yield wire


@pytest.fixture(autouse=True)
def _the_next_call_is_answered(wire):
    yield
    code, outputs = wire.predict("recommend", request(1))
    assert code == "OK"
    assert len(set(texts(outputs["item_id"])[0])) == K


# What is odd but can be answered

# Each beside what it amounts to. Histories have three events, unless given otherwise.
ODD = {
    "an unknown user": ({"user_id": ["nobody"]}, {"user_id": [""]}),
    "a user id of 1 MB": ({"user_id": ["u" * 2**20]}, {"user_id": [""]}),
    "unknown items in the history": (
        {"history_item_id": ["no such item", "ITEM-0001", " item-0001"]},
        {"history_item_id": ["x", "y", "z"]},
    ),
    "unknown items excluded": ({"exclude_item_id": [["no such item", "item-1"]]}, {}),
    "an unknown device and language": (
        {"context_device": ["no such device"], "profile_language": ["no such language"]},
        {"context_device": [""], "profile_language": [""]},
    ),
    "an unknown kind of event": ({"history_event": ["no such kind"] * 3}, {"history_event": [""] * 3}),
    "a history of padding": ({"history_item_id": [""] * 3}, {"events": 0}),
    "a text of 1 MB": ({"query_text": [WORDS]}, {"query_text": [WORDS[:10_000]]}),
    "texts of 1 MB in the history": ({"history_text": [WORDS] * 3}, {"history_text": [WORDS[:10_000]] * 3}),
    "a text that is no UTF-8": (
        {"query_text": [b"guitar\xff\xfe music \xed\xa0\x80"]},
        {"query_text": ["guitar music"]},
    ),
    "ids that are no UTF-8": (
        {"user_id": [b"\xff"], "history_item_id": [b"\xff\xfe", b"\xc0\xaf", b"half \xe4\xbd"]},
        {"user_id": [""], "history_item_id": ["x", "y", "z"]},
    ),
    "control characters in a text": (
        {"query_text": ["\x00guitar\x1b\x07music\x7f\r\n"]},
        {"query_text": ["guitar music"]},
    ),
    "control characters in ids": (
        {"user_id": ["a\x00b"], "history_item_id": ["item-0001\x00", "\x00", "\x1b[31m"]},
        {"user_id": [""], "history_item_id": ["x", "y", "z"]},
    ),
    "marks of direction in a text": (
        {"query_text": ["\u202eguitar\u202c \u200fmusic"]},
        {"query_text": ["guitar music"]},
    ),
    "ratings that are NaN or infinite": ({"history_rating": [np.nan, np.inf, -np.inf]}, {"history_rating": [-1] * 3}),
    "times before 1970": (
        {"history_timestamp": [-1] * 3, "timestamp": [-1]},
        {"history_timestamp": [0] * 3, "timestamp": [0]},
    ),
    "the earliest times": (
        {"history_timestamp": [EARLIEST] * 3, "timestamp": [EARLIEST]},
        {"history_timestamp": [0] * 3, "timestamp": [0]},
    ),
    "the latest time": ({"timestamp": [LATEST]}, {"timestamp": [2**40]}),
}


def shaped(changes):
    changes = dict(changes)
    events = changes.pop("events", 3)
    return request(1, events, **changes)


@pytest.mark.parametrize(("changes", "same_as"), ODD.values(), ids=ODD)
def test_what_is_odd_is_answered_like_what_it_amounts_to(wire, changes, same_as):
    code, expected = wire.predict("recommend", shaped(same_as))
    assert code == "OK"
    code, outputs = wire.predict("recommend", shaped(changes))
    assert code == "OK"
    status, columns = wire.post("recommend", shaped(changes))
    assert status == 200
    assert columns["item_id"] == texts(outputs["item_id"]) == texts(expected["item_id"])
    for name in ("score", "retrieval_score"):
        assert np.isfinite(outputs[name]).all()
        np.testing.assert_allclose(outputs[name], expected[name], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(columns[name], outputs[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"query_text": ["\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f4"]}, id="emoji"),
        pytest.param({"query_text": ["\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd"]}, id="right to left"),
        pytest.param({"query_text": ["a" + "\u0301" * 5000]}, id="combining marks"),
        pytest.param({"profile_age": [np.nan]}, id="an age that is NaN"),
        pytest.param({"profile_age": [np.inf]}, id="an infinite age"),
        pytest.param({"profile_age": [-1e30]}, id="a negative age"),
        pytest.param({"history_rating": [3.4e38] * 3}, id="huge ratings"),
        pytest.param({"history_timestamp": [LATEST, 0, EARLIEST]}, id="times in any order"),
        pytest.param({"history_timestamp": [LATEST] * 3, "timestamp": [EARLIEST]}, id="a history after its request"),
        pytest.param({"events": 0}, id="no history"),
        pytest.param({"events": 5000}, id="a history of 5,000"),
    ],
)
def test_what_no_training_data_had_is_answered(wire, changes):
    inputs = shaped({**changes, "explain": [True], "diversity": [0.5]})
    code, outputs = wire.predict("recommend", inputs)
    assert code == "OK"
    item_ids = texts(outputs["item_id"])[0]
    assert len(set(item_ids)) == K
    assert "" not in item_ids
    assert not set(item_ids) & set(texts(inputs["history_item_id"])[0])
    assert all(np.isfinite(outputs[name]).all() for name in ("score", "retrieval_score"))
    assert outputs["reason_history_position"].max() < inputs["history_item_id"].shape[1]
    status, columns = wire.post("recommend", inputs)
    assert (status, columns["item_id"]) == (200, [item_ids])


def test_what_nothing_fits_is_answered_with_nothing(wire):
    everything = [[f"item-{number:04d}" for number in range(40)]]
    for inputs in (request(1, allowed_category=[["no such category"]]), request(1, exclude_item_id=everything)):
        code, outputs = wire.predict("recommend", inputs)
        assert (code, texts(outputs["item_id"])) == ("OK", [[""] * K])
        assert not outputs["score"].any()


def test_unknown_items_where_items_are_asked_for(wire):
    unknown = np.array([b"no such item", b"", b"\xff"], object)
    code, outputs = wire.predict("similar_items", {"item_id": unknown, "exclude_item_id": unknown[:, None]})
    assert (code, set(outputs["item_id"].ravel())) == ("OK", {b""})
    candidates = {"candidate_item_id": unknown[None, :]}
    code, outputs = wire.predict("rank", {**exported.user_only(request(1)), **candidates})
    assert (code, outputs["score"].tolist()) == ("OK", [[np.finfo(np.float32).min] * 3])
    code, outputs = wire.predict("encode_item", {"item_id": unknown})
    assert code == "OK"
    assert np.isfinite(outputs["embedding"]).all()


@pytest.mark.parametrize("signature", ["recommend", "retrieve"])
def test_batches_of_none_and_of_ten_thousand(wire, signature):
    def inputs(batch):
        made = request(batch)
        return made if signature == "recommend" else exported.retrieval(made)

    code, outputs = wire.predict(signature, inputs(0))
    assert code == "OK"
    assert {len(value) for value in outputs.values()} == {0}
    assert {value.shape[1] for value in outputs.values()} == (
        {K} if signature == "recommend" else {exported.CANDIDATES}
    )
    code, few = wire.predict(signature, inputs(2))
    assert code == "OK"
    code, many = wire.predict(
        signature, {name: np.tile(v, [5000, *[1] * (v.ndim - 1)]) for name, v in inputs(2).items()}
    )
    assert code == "OK"
    np.testing.assert_array_equal(many["item_id"], np.tile(few["item_id"], [5000, 1]))
    np.testing.assert_allclose(many["score"], np.tile(few["score"], [5000, 1]), rtol=1e-4, atol=1e-4)


# What is wrong


def refused(wire, signature, inputs, expected_error):
    code, message = wire.predict(signature, inputs)
    assert code == "INVALID_ARGUMENT", message
    assert expected_error in message


def refused_by_both(wire, signature, inputs, expected_error):
    refused(wire, signature, inputs, expected_error)
    status, message = wire.post(signature, inputs)
    assert status == 400
    assert expected_error in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.1, 1.1, 3e38])
def test_a_diversity_that_is_no_share(wire, value):
    refused_by_both(wire, "recommend", request(1, diversity=[value]), "`diversity` should be from 0 to 1")


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e20, 3e38])
@pytest.mark.parametrize("name", ["history_text_embedding", "query_text_embedding"])
def test_vectors_that_are_no_texts(wire, name, value):
    inputs = request(1)
    for written in ("history_text", "query_text"):
        shape = inputs.pop(written).shape
        inputs[f"{written}_embedding"] = np.zeros([*shape, tiny_bert.WIDTH], np.float32)
    inputs[name].flat[1] = value
    refused_by_both(wire, "recommend_embedded", inputs, f"`{name}` should be finite vectors")


NAMES = sorted(request())
# JSON cannot say what follows a dimension of nothing: no list is empty.
FILTERS = {"exclude_item_id": [["item-0001"]], "allowed_category": [["red"]]}


def full(batch, events=3):
    return request(batch, events, **{name: value * batch for name, value in FILTERS.items()})


@pytest.mark.parametrize("name", NAMES)
def test_an_input_of_another_batch_size(wire, name):
    for batch in (1, 3):
        inputs = {**full(2), name: full(batch)[name]}
        # Of `user_id`, the others are wrong: any of them is named.
        refused_by_both(wire, "recommend", inputs, "`user_id`" if name == "user_id" else f"`{name}` should have")


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("history_") and name != "history_item_id"])
def test_a_column_of_the_history_that_is_shorter_or_longer(wire, name):
    for events in (1, 2, 4):
        refused_by_both(
            wire, "recommend", {**request(2), name: request(2, events)[name]}, f"`{name}` should have the shape"
        )


@pytest.mark.parametrize("name", NAMES)
def test_an_input_of_another_rank(wire, name):
    inputs = full(2)
    shape = str([-1] * inputs[name].ndim)
    for wrong in (inputs[name].ravel()[:1].reshape([]), inputs[name][..., None]):
        refused_by_both(wire, "recommend", {**inputs, name: wrong}, f"Input {name} should have the shape {shape}")


@pytest.mark.parametrize("name", NAMES)
def test_an_input_of_another_type(wire, name):
    inputs = full(2)
    place, wanted = NAMES.index(name), inputs[name]
    for dtype in (np.float32, np.float64, np.int32, np.int64, np.bool_, object):
        if wanted.dtype != dtype:
            wrong = {**inputs, name: np.full(wanted.shape, b"1" if dtype is object else 1, dtype)}
            code, message = wire.predict("recommend", wrong)
            assert code == "INVALID_ARGUMENT"
            assert message.startswith(f"Expects arg[{place}] to be ")
            assert message.endswith(f" is provided (input {name})")
    wrong = {**inputs, name: np.full(wanted.shape, 1, np.int64) if wanted.dtype == object else wanted.astype(str)}
    status, message = wire.post("recommend", wrong)
    assert status == 400
    assert " is not of expected type: " in message
    assert message.endswith(f" (input {name})")


@pytest.mark.parametrize("name", NAMES)
def test_an_input_that_is_missing(wire, name):
    inputs = request(2)
    del inputs[name]
    refused(wire, "recommend", inputs, f"Missing but required: {{{name}}}.")
    assert wire.post("recommend", inputs) == (400, f"Missing named input: {name} in 'inputs' object.")


def test_an_input_that_the_signature_lacks(wire):
    assert wire.inputs_of("recommend") == set(NAMES)
    refused(wire, "recommend", {**request(2), "k": np.array([3])}, "Sent extra: {k}. Missing but required: {}.")
    misspelt = request(2)
    misspelt["user"] = misspelt.pop("user_id")
    refused(wire, "recommend", misspelt, "Signature input alias: user_id(feed name: ")
    refused(wire, "recommend", {}, f"Missing but required: {{{','.join(NAMES)}}}.")


def test_a_signature_that_is_not_there(wire):
    for name in ("recommended", "Recommend", "\u202e", "x" * 2000):
        code, message = wire.predict(name, request(1))
        assert code == "FAILED_PRECONDITION"
        assert message.startswith(f'Serving signature key "{name[:100]}')
        assert wire.post(name, request(1))[0] == 400
    refused(wire, "encode_item", ids_only(request(1)), "Sent extra: {diversity,exclude_item_id,explain,")


# What is no call

PIECES = {
    "bytes": bytes(range(256)) * 40,
    "zeros": bytes(10_000),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/1.1": b"GET /v1/models/tiny HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/2 without frames": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2 with a frame too long": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    "nothing": b"",
}


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)
@pytest.mark.parametrize("port", ["gRPC", "REST"])
def test_garbage_on_a_port(wire, port, piece):
    """The autouse fixture asks afterwards; here the other calls go on while the connections are open."""
    host, number = (wire.grpc_address if port == "gRPC" else wire.rest_address).rsplit(":", 1)
    connections = [socket.create_connection((host, int(number)), timeout=10) for _ in range(5)]
    for connection in connections:
        connection.sendall(piece)
    assert wire.predict("recommend", request(1))[0] == "OK"
    assert wire.post("recommend", request(1))[0] == 200
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("body", [b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x08\x01" * 50])
def test_garbage_in_a_call(wire, body):
    call = wire.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(grpc.RpcError) as caught:
        call(body, timeout=20)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "PredictRequest" in caught.value.details() or "ModelSpec" in caught.value.details()
