"""The end: what was accepted is answered, what comes later is refused with UNAVAILABLE."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.server.process import ServerProcess

pytestmark = pytest.mark.slow


def request(signature="", **inputs):
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "tiny"
    message.model_spec.signature_name = signature
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message


def steps_for(stub, seconds):
    began = time.monotonic()
    stub.Predict(request("slow", steps=np.int32(300)), timeout=20)
    return np.int32(300 * seconds / (time.monotonic() - began))


def outcome(stub, message):
    """The name of the status a call ends with."""
    try:
        stub.Predict(message, timeout=20)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def test_accepted_calls_are_answered_and_later_ones_are_unavailable(publish):
    """Two threads answer six slow calls: four of them wait in the server when the signal comes."""
    with (
        ServerProcess(publish(1), "tiny", arguments=["--grpc_max_threads=2"]) as server,
        grpc.insecure_channel(server.address) as channel,
        ThreadPoolExecutor(6) as threads,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        slow = request("slow", steps=steps_for(stub, 0.7))
        accepted = [threads.submit(outcome, stub, slow) for _ in range(6)]
        time.sleep(0.4)
        os.kill(server.pid, signal.SIGTERM)
        time.sleep(0.05)
        assert [outcome(stub, request(x=[0.0])) for _ in range(3)] == ["UNAVAILABLE"] * 3
        assert not any(future.done() for future in accepted[4:])
        assert [future.result() for future in accepted] == ["OK"] * 6
        assert server.stop() == 0


def test_under_load_a_call_is_answered_or_unavailable_and_nothing_else(publish):
    with (
        ServerProcess(publish(1), "tiny") as server,
        grpc.insecure_channel(server.address) as channel,
        ThreadPoolExecutor(8) as threads,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def last_outcome():
            while (name := outcome(stub, request(x=[0.0]))) == "OK":
                pass
            return name

        running = [threads.submit(last_outcome) for _ in range(8)]
        time.sleep(1)
        os.kill(server.pid, signal.SIGINT)
        assert [future.result() for future in running] == ["UNAVAILABLE"] * 8
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("signature", "steps", "flags"),
    [("slow", np.int32(10**9), []), ("slow_rows", np.array([10**9], np.int32), ["--enable_batching"])],
    ids=["by itself", "in batches"],
)
def test_a_graph_without_end_is_cancelled_after_the_grace(signature, steps, flags, publish, start):
    server = start(publish(1), *flags)
    with grpc.insecure_channel(server.address) as channel, ThreadPoolExecutor(1) as threads:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        endless = threads.submit(outcome, stub, request(signature, steps=steps))
        model = server.core.models["tiny"]
        while True:
            with model.acquire() as servable:
                if servable.users > 1:
                    break
            time.sleep(0.02)
        began = time.monotonic()
        server.stop(0.5)
        assert 0.5 <= time.monotonic() - began < 10
        assert endless.result() in ("UNAVAILABLE", "CANCELLED")
        assert servable.users == 0
