"""A server that gets more calls than it can answer: some calls wait and the others are refused at once."""

import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.server.admission.admission import OVERLOADED_SECONDS, PROBE_SECONDS
from serving.server.admission.call_pool import CallPool
from tests.support.ports import free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

THREADS = 2
WAITING = 3
CALM = OVERLOADED_SECONDS + PROBE_SECONDS  # without a call, after which the server is in the normal state


def request(signature="", **inputs):
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "tiny"
    message.model_spec.signature_name = signature
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message


@pytest.fixture(scope="module")
def rest_port():
    return free_port()


@pytest.fixture(scope="module")
def server(tiny_models, start, rest_port):
    flags = (f"--grpc_max_threads={THREADS}", f"--rest_api_num_threads={THREADS}", f"--max_waiting_calls={WAITING}")
    return start(tiny_models(3).parent, *flags, f"--rest_api_port={rest_port}")


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture
def busy_threads(server, stub):
    """Calls that occupy every thread for two seconds, until their deadline. No overload lasts from before."""
    time.sleep(CALM)
    endless = request("slow", steps=np.int32(10**9))
    calls = [stub.Predict.future(endless, timeout=2) for _ in range(THREADS)]
    model = server.core.models["tiny"]
    wait_until(lambda: _users(model) == THREADS)
    yield calls
    wait_until(lambda: _users(model) == 0)


def outcome(call):
    """(code, message) that a call ends with."""
    try:
        call.result(timeout=10)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


def test_calls_beyond_the_waiting_ones_are_refused_at_once(channel, stub, busy_threads):
    waiting = [stub.Predict.future(request(x=[2.0]), timeout=20) for _ in range(WAITING)]
    time.sleep(0.2)
    began = time.monotonic()
    code, message = outcome(stub.Predict.future(request(x=[2.0]), timeout=20))
    assert time.monotonic() - began < 1
    assert code == "RESOURCE_EXHAUSTED"
    assert message.startswith(
        f"Server Threadpool Exhausted: {THREADS} calls are answered at once and {WAITING} may wait"
    )
    # Only predictions are refused: a call for the status waits with the others.
    status_request = get_model_status_pb2.GetModelStatusRequest()
    status_request.model_spec.name = "tiny"
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus.future(status_request, timeout=20)
    assert not any(call.done() for call in [*busy_threads, *waiting])
    assert [outcome(call)[0] for call in busy_threads] == ["DEADLINE_EXCEEDED"] * THREADS
    assert [outcome(call)[0] for call in waiting] == ["OK"] * WAITING
    assert status.result().model_version_status[0].version == 3


def test_calls_that_end_while_they_wait_make_room_for_others(stub, busy_threads):
    waiting = [stub.Predict.future(request(x=[2.0]), timeout=0.2) for _ in range(WAITING)]
    assert [outcome(call)[0] for call in waiting] == ["DEADLINE_EXCEEDED"] * WAITING
    assert [outcome(call)[0] for call in busy_threads] == ["DEADLINE_EXCEEDED"] * THREADS
    time.sleep(0.2)
    burst = [stub.Predict.future(request(x=[2.0]), timeout=20) for _ in range(THREADS + WAITING)]
    assert [outcome(call)[0] for call in burst] == ["OK"] * len(burst)


def test_rest_refuses_with_429(server, rest_port):
    def post(document):
        body = json.dumps(document).encode()
        url = f"http://127.0.0.1:{rest_port}/v1/models/tiny:predict"
        try:
            with urllib.request.urlopen(url, body, timeout=20) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    slow = {"signature_name": "slow", "inputs": 2_000}
    with ThreadPoolExecutor(THREADS + WAITING + 3) as threads:
        replies = list(threads.map(post, [slow] * (THREADS + WAITING + 3)))
    refused = [reply for code, reply in replies if code == 429]
    assert len(refused) == 3
    assert all(reply["error"].startswith("Server Threadpool Exhausted") for reply in refused)
    assert [code for code, _ in replies].count(200) == THREADS + WAITING
    with urllib.request.urlopen(f"http://127.0.0.1:{rest_port}/v1/models/tiny", timeout=20) as reply:
        assert reply.status == 200


def test_a_pool_stops_counting_calls_cancelled_before_they_begin():
    with CallPool(1, "test") as pool:
        first = pool.submit(time.sleep, 0.2)
        second = pool.submit(time.sleep, 0.0)
        assert pool.calls == 2
        assert second.cancel()
        first.result()
        wait_until(lambda: pool.calls == 0)
    with pytest.raises(RuntimeError):
        pool.submit(time.sleep, 0)
    assert pool.calls == 0


def _users(model):
    with model.acquire() as servable:
        return servable.users - 1
