from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.export import warm_up
from trainer.errors import TowersError

REQUESTS = [
    ("recommend", {"user_id": np.array([b"u1", b"u2"], object), "timestamp": np.array([1, 2])}),
    ("encode_text", {"text": np.array(["一本书".encode()], object)}),
]


class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, refuse: str = ""):
        self.refuse = refuse
        self.received: list[predict_pb2.PredictRequest] = []

    def Predict(self, request, context):  # noqa: N802
        self.received.append(request)
        if request.model_spec.signature_name == self.refuse:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such thing")
        return predict_pb2.PredictResponse()


@pytest.fixture
def serve():
    servers = []

    def start(servicer: Servicer) -> str:
        server = grpc.server(futures.ThreadPoolExecutor(1))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None)


def test_what_is_written_is_read(tmp_path):
    assert warm_up.write(tmp_path, "recommender", REQUESTS) == 2
    assert (tmp_path / "assets.extra" / "tf_serving_warmup_requests").exists()
    first, second = warm_up.read(tmp_path)
    assert first.model_spec.name == "recommender"
    assert (first.model_spec.signature_name, second.model_spec.signature_name) == ("recommend", "encode_text")
    assert tf.make_ndarray(first.inputs["user_id"]).tolist() == [b"u1", b"u2"]
    assert tf.make_ndarray(first.inputs["timestamp"]).dtype == np.int64
    assert tf.make_ndarray(second.inputs["text"])[0].decode() == "一本书"


def test_a_model_without_warm_up_requests(tmp_path):
    assert list(warm_up.read(tmp_path)) == []


def test_replay_sends_each_to_the_named_model(tmp_path, serve):
    warm_up.write(tmp_path, "recommender", REQUESTS)
    servicer = Servicer()
    assert warm_up.replay(tmp_path, serve(servicer), model_name="candidate") == 2
    assert [r.model_spec.name for r in servicer.received] == ["candidate", "candidate"]
    assert [r.model_spec.signature_name for r in servicer.received] == ["recommend", "encode_text"]


def test_a_refused_request_is_named(tmp_path, serve):
    warm_up.write(tmp_path, "recommender", REQUESTS)
    with pytest.raises(TowersError, match=r"request 2 \(encode_text\) .* INVALID_ARGUMENT no such thing"):
        warm_up.replay(tmp_path, serve(Servicer(refuse="encode_text")))


def test_too_many(tmp_path):
    with pytest.raises(ValueError, match="at most 1000"):
        warm_up.write(tmp_path, "recommender", [REQUESTS[1]] * (warm_up.MAX_RECORDS + 1))
