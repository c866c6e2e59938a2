from concurrent import futures

import grpc
import pytest
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.export import warm_up_calls, warm_up_records
from tests.serving.export.test_warm_up_records import REQUESTS
from trainer.errors import TowersError


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


def test_replay_sends_each_to_the_named_model(tmp_path, serve):
    warm_up_records.write(tmp_path, "recommender", REQUESTS)
    servicer = Servicer()
    assert warm_up_calls.send_requests(tmp_path, serve(servicer), model_name="candidate") == 2
    assert [r.model_spec.name for r in servicer.received] == ["candidate", "candidate"]
    assert [r.model_spec.signature_name for r in servicer.received] == ["recommend", "encode_text"]


def test_a_refused_request_is_named(tmp_path, serve):
    warm_up_records.write(tmp_path, "recommender", REQUESTS)
    with pytest.raises(TowersError, match=r"request 2 \(encode_text\) .* INVALID_ARGUMENT no such thing"):
        warm_up_calls.send_requests(tmp_path, serve(Servicer(refuse="encode_text")))
