"""Requests with texts are answered from cached vectors, with the same answers as without a cache."""

import json
import logging
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2

from serving.client.prediction_client import PredictionClient
from serving.model_files import METADATA
from serving.server.batching.batched_servable import BatchedServable
from serving.server.batching.parameters import BatchingParameters
from serving.server.batching.scheduler import BatchScheduler
from serving.server.monitoring.metrics import Registry
from serving.server.request_errors import RequestError, invalid_argument
from serving.server.runtime import servable
from serving.server.runtime.predict import predict
from serving.server.runtime.text_cache import TextCache
from serving.server.runtime.text_reuse import TextReuse
from serving.wire.errors import ServingError
from tests.support.ports import free_port

READ = 3  # last events of a history
ENCODED = "embedding"


class Reading(tf.Module):
    """Answers the lengths of the texts that it reads; a vector is a text's length, twice."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def encode_text(self, text):
        return {ENCODED: self._vectors(text)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.string, name="history_item_id"),
            tf.TensorSpec([None, None], tf.string, name="history_text"),
            tf.TensorSpec([None], tf.string, name="query_text"),
        ]
    )
    def recommend(self, history_item_id, history_text, query_text):
        same = tf.debugging.assert_equal(tf.shape(history_item_id), tf.shape(history_text), "`history_text` is uneven")
        with tf.control_dependencies([same]):
            return self._read(history_item_id, self._vectors(history_text), self._vectors(query_text))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.string, name="history_item_id"),
            tf.TensorSpec([None, None, 2], tf.float32, name="history_text_embedding"),
            tf.TensorSpec([None, 2], tf.float32, name="query_text_embedding"),
        ]
    )
    def recommend_embedded(self, history_item_id, history_text_embedding, query_text_embedding):
        return self._read(history_item_id, history_text_embedding, query_text_embedding)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="query_text")])
    def other(self, query_text):
        return {"length": tf.strings.length(query_text)}

    def _vectors(self, texts):
        length = tf.cast(tf.strings.length(texts), tf.float32)
        return tf.stack([length, length], axis=-1)

    def _read(self, items, history, query):
        events = tf.cast(items != "", tf.float32)
        read = events * tf.cast(tf.cumsum(events, axis=1, reverse=True) <= READ, tf.float32)
        return {"history": tf.reduce_sum(read * history[..., 0], axis=1), "query": query[:, 1]}


@pytest.fixture(scope="module")
def base_path(tmp_path_factory):
    model = Reading()
    base_path = tmp_path_factory.mktemp("reading")
    names = ("encode_text", "recommend", "recommend_embedded", "other")
    tf.saved_model.save(model, str(base_path / "1"), signatures={name: getattr(model, name) for name in names})
    write_metadata(base_path / "1")
    return base_path


def write_metadata(directory, **changed):
    names = {"encoder": "lengths", "encode": "encode_text", "embedded": {"recommend": "recommend_embedded"}}
    path = directory / METADATA
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"text_vectors": names | {"max_history": READ} | changed}))


class Loaded:
    """The model with and without a cache, and the texts that were encoded."""

    def __init__(self, directory, monkeypatch, make=servable.Servable):
        self.plain = servable.load("reading", 1, directory)
        self.caching = servable.load("reading", 1, directory, make=make)
        self.registry = Registry()
        self.caching.text_reuse = TextReuse.from_metadata(self.caching, directory, TextCache(2**20, self.registry))
        self.encoded = []
        encode = self.caching.signatures["encode_text"].inputs["text"].handle
        run = servable.Servable.run

        def watched(servable, feeds, fetches, timeout_ms):
            if encode in feeds:
                self.encoded.append(feeds[encode].tolist())
            return run(servable, feeds, fetches, timeout_ms)

        monkeypatch.setattr(servable.Servable, "run", watched)

    def ask(self, timeout_ms=None, **inputs):
        """The answer, the same from both."""
        answers = []
        for model in (self.plain, self.caching):
            response = predict(model, request(**inputs), timeout_ms)
            answers.append({name: list(tensor.float_val) for name, tensor in response.outputs.items()})
        assert answers[0] == answers[1]
        return answers[1]

    def close(self):
        self.plain.close()
        self.caching.close()


@pytest.fixture
def loaded(base_path, monkeypatch):
    loaded = Loaded(base_path / "1", monkeypatch)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def shared_model(base_path):
    with pytest.MonkeyPatch.context() as monkeypatch:
        loaded = Loaded(base_path / "1", monkeypatch)
        yield loaded
        loaded.close()


def request(signature="recommend", **inputs):
    message = predict_pb2.PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = "reading", signature
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(np.array(value, object), tf.string, np.shape(value)))
    return message


def test_a_text_is_encoded_once(loaded):
    asked = {"history_item_id": [[b"i", b"j"]], "history_text": [[b"long text", b"a"]], "query_text": [b"a"]}
    assert loaded.ask(**asked) == {"history": [10.0], "query": [1.0]}
    assert loaded.encoded == [[b"a", b"long text"]]
    assert loaded.ask(**asked | {"query_text": [b"new"]}) == {"history": [10.0], "query": [3.0]}
    assert loaded.encoded[1:] == [[b"new"]]
    assert 'lookups{result="hit"} 2\n' in loaded.registry.text()


def test_texts_that_are_not_read_are_not_encoded(loaded):
    items = [[b"1", b"2", b"3", b"", b"4", b""], [b"", b"", b"", b"", b"", b"5"]]
    texts = [[b"too old", b"b", b"cc", b"no event", b"ddd", b"x"], [b"", b"no", b"", b"", b"", b""]]
    assert loaded.ask(history_item_id=items, history_text=texts, query_text=[b"", b""]) == {
        "history": [6.0, 0.0],
        "query": [0.0, 0.0],
    }
    assert loaded.encoded == [[b"b", b"cc", b"ddd"]]


def test_a_request_without_text_is_one_run(loaded):
    loaded.ask(history_item_id=[[b"1"]], history_text=[[b""]], query_text=[b""])
    assert loaded.encoded == []
    assert ":towers:serving:text_cache:bytes{} 0\n" in loaded.registry.text()


TEXT = st.sampled_from([b"", b"a", b"bb", b"ccc", "你好".encode(), b"\xff\xfe"])


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(0, 3), st.integers(0, 6))
def test_the_answer_is_the_signatures_own(shared_model, data, batch, events):
    def drawn(values, *shape):
        array = np.empty(np.prod(shape, dtype=int), object)
        array[:] = data.draw(st.lists(values, min_size=array.size, max_size=array.size))
        return array.reshape(shape)

    shared_model.ask(
        history_item_id=drawn(st.sampled_from([b"", b"i"]), batch, events),
        history_text=drawn(TEXT, batch, events),
        query_text=drawn(TEXT, batch),
    )


def test_other_signatures_and_large_calls_are_left_alone(loaded):
    message = request("other", query_text=[b"abc"])
    assert list(predict(loaded.caching, message).outputs["length"].int_val) == [3]
    items = np.full([5, 1000], b"i", object)
    loaded.ask(history_item_id=items, history_text=items, query_text=[b"q"] * 5)
    assert loaded.encoded == []


def test_what_is_wrong_is_said_of_what_was_sent(loaded):
    message = request(history_item_id=[[b"i", b"j"]], history_text=[[b"a"]], query_text=[b"q"])
    for model in (loaded.plain, loaded.caching):
        with pytest.raises(RequestError, match="`history_text` is uneven") as caught:
            predict(model, message)
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_what_the_other_signature_refuses_is_said_of_what_was_sent(loaded):
    message = request(history_item_id=[[b"i"]], history_text=[[b"a"]], query_text=[b"q"])
    embedded, run = loaded.caching.signatures["recommend_embedded"].inputs.values(), loaded.caching.run

    def refuse(feeds, fetches, timeout_ms):
        if {declared.handle for declared in embedded} == set(feeds):
            raise invalid_argument("`history_text_embedding` is not what anybody sent")
        return run(feeds, fetches, timeout_ms)

    loaded.caching.run = refuse
    assert list(predict(loaded.caching, message).outputs["history"].float_val) == [1.0]


def test_the_deadline_is_of_both_runs_together(loaded):
    message = request(history_item_id=[[b"i"]], history_text=[[b"a"]], query_text=[b"q"])
    with pytest.raises(RequestError, match="The deadline passed") as caught:
        predict(loaded.caching, message, timeout_ms=0)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_more_texts_than_a_batch_may_have(base_path, monkeypatch):
    scheduler = BatchScheduler(BatchingParameters(max_batch_size=2, batch_timeout_micros=0))
    loaded = Loaded(base_path / "1", monkeypatch, lambda *given: BatchedServable(*given, scheduler=scheduler))
    texts = [[b"a", b"bb", b"ccc"]]
    assert loaded.ask(history_item_id=texts, history_text=texts, query_text=[b"q"])["history"] == [6.0]
    assert loaded.encoded == [[b"a", b"bb"], [b"ccc", b"q"]]
    loaded.close()
    scheduler.stop()


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"embedded": {"recommend": "missing"}}, "missing"),
        ({"embedded": {"recommend": "encode_text"}}, "except for the texts"),
        ({"encode": "other"}, "text"),
        ({"surprise": 1}, "surprise"),
    ],
    ids=["no such signature", "another signature", "no encoder", "unknown key"],
)
def test_wrong_metadata_are_logged_and_the_model_is_served(base_path, tmp_path, caplog, changed, problem):
    loaded = servable.load("reading", 1, base_path / "1")
    write_metadata(tmp_path, **changed)
    with caplog.at_level(logging.WARNING):
        assert TextReuse.from_metadata(loaded, tmp_path, TextCache(2**20, Registry())) is None
    assert problem in caplog.text
    loaded.close()


@pytest.mark.parametrize("metadata", [None, {}, {"text_vectors": None}], ids=["no file", "older", "no texts"])
def test_a_model_without_such_signatures_is_served_as_it_is(base_path, tmp_path, caplog, metadata):
    loaded = servable.load("reading", 1, base_path / "1")
    if metadata is not None:
        (tmp_path / METADATA).parent.mkdir()
        (tmp_path / METADATA).write_text(json.dumps(metadata))
    assert TextReuse.from_metadata(loaded, tmp_path, TextCache(2**20, Registry())) is None
    assert not caplog.records
    loaded.close()


@pytest.mark.parametrize(
    ("flags", "counts"),
    [((), ['{result="hit"} 2', '{result="miss"} 3']), (("--text_cache_mib=0",), [])],
    ids=["default", "off"],
)
def test_over_the_wire(base_path, tmp_path, start, flags, counts):
    monitoring = tmp_path / "monitoring.txt"
    monitoring.write_text("prometheus_config { enable: true }")
    server = start(base_path, f"--rest_api_port={free_port()}", f"--monitoring_config_file={monitoring}", *flags)
    asked = {
        "history_item_id": np.array([[b"i"]], object),
        "history_text": np.array([[b"text"]], object),
        "query_text": np.array([b"query"], object),
    }
    with PredictionClient(server.address, "tiny", timeout=20) as client:
        for _ in range(2):
            answer = client.predict("recommend", asked)
            assert (answer["history"].tolist(), answer["query"].tolist()) == ([4.0], [5.0])
        body = {"signature_name": "recommend", "inputs": {"history_item_id": [["i"]], "history_text": [["by REST"]]}}
        body["inputs"]["query_text"] = [""]
        url = f"http://{server.rest.address}"
        with urllib.request.urlopen(f"{url}/v1/models/tiny:predict", json.dumps(body).encode()) as reply:
            assert json.loads(reply.read()) == {"outputs": {"history": [7.0], "query": [0.0]}}
        with pytest.raises(ServingError, match="history_text"):
            client.predict("recommend", asked | {"history_text": np.array([[b"a", b"b"]], object)})
    with urllib.request.urlopen(f"{url}/monitoring/prometheus/metrics") as reply:
        lines = reply.read().decode().splitlines()
    assert [line for line in lines if line.startswith(":towers:serving:text_cache:lookups")] == [
        f":towers:serving:text_cache:lookups{count}" for count in counts
    ]
