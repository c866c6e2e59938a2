"""Calls that share a batch, over the wire."""

import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.client.prediction_client import PredictionClient
from serving.server.request_errors import RequestError
from serving.wire.errors import ServingError
from tests.serving.batches import LONG, call_together, spy_on_runs
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


def test_calls_share_a_batch_and_get_their_own_rows(batching_server, monkeypatch):
    sizes = spy_on_runs(monkeypatch)
    _, client = batching_server(f"max_batch_size {{ value: 6 }} batch_timeout_micros {{ value: {LONG} }}")
    inputs = [[0.0, 2.0], [4.0], [6.0, 8.0, 10.0]]
    answers = call_together([lambda x=x: client.predict("", {"x": x})["y"].tolist() for x in inputs])
    assert answers == [[3.0, 4.0], [5.0], [6.0, 7.0, 8.0]]
    assert sizes == [6]


def test_one_caller_alone_waits_no_longer_than_the_timeout(batching_server):
    _, client = batching_server("batch_timeout_micros { value: 200000 }")
    client.predict("", {"x": [1.0]})
    started = time.monotonic()
    client.predict("", {"x": [1.0]})
    assert 0.15 < time.monotonic() - started < 2


def test_batches_are_filled_up_to_an_allowed_size(batching_server, monkeypatch):
    sizes = spy_on_runs(monkeypatch)
    _, client = batching_server("max_batch_size { value: 8 } allowed_batch_sizes: 4 allowed_batch_sizes: 8")
    assert client.predict("", {"x": [2.0, 4.0, 6.0]})["y"].tolist() == [4.0, 5.0, 6.0]
    assert client.predict("", {"x": np.zeros([5], np.float32)})["y"].shape == (5,)
    assert client.predict("", {"x": np.zeros([0], np.float32)})["y"].shape == (0,)
    assert sizes == [4, 8, 0]


def test_inputs_of_different_widths_go_to_different_batches_otherwise(batching_server, monkeypatch):
    sizes = spy_on_runs(monkeypatch)
    _, client = batching_server(f"max_batch_size {{ value: 2 }} batch_timeout_micros {{ value: {LONG} }}")
    texts = [[[b"a"]], [[b"b", b"c"]], [[b"d"]], [[b"e", b"f"]]]
    answers = call_together([lambda text=text: client.predict("echo", {"text": text})["text"] for text in texts])
    assert [answer.tolist() for answer in answers] == texts
    assert sizes == [2, 2]


def test_an_output_filter_changes_neither_rows_nor_order(batching_server, tiny_models):
    server, _ = batching_server("")
    request = predict_pb2.PredictRequest(output_filter=["text", "bytes"])
    request.model_spec.name = "tiny"
    request.model_spec.signature_name = "echo"
    request.inputs["text"].CopyFrom(tf.make_tensor_proto([["ab"]]))
    with grpc.insecure_channel(server.address) as channel:
        outputs = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=10).outputs
    assert (list(outputs["text"].string_val), list(outputs["bytes"].int_val)) == ([b"ab"], [2])


@pytest.mark.parametrize(
    ("signature", "inputs", "code", "expected_error"),
    [
        ("", {"x": np.zeros([5], np.float32)}, "INVALID_ARGUMENT", "Task size 5 is larger than maximum input batch"),
        (
            "two",
            {"a": np.zeros([1], np.float32), "b": np.zeros([3, 2], np.int64)},
            "INVALID_ARGUMENT",
            r"must have equal 0th-dimension size \(a: 1, b: 3\)",
        ),
        ("slow", {"steps": 1}, "INVALID_ARGUMENT", r"must have at least one dimension \(input steps\)"),
        (
            "two",
            {"a": np.zeros([2], np.float32), "b": np.zeros([2, 2], np.int64)},
            "FAILED_PRECONDITION",
            "Batched output tensor has 0 dimensions",
        ),
        ("", {}, "INVALID_ARGUMENT", "input size does not match signature"),
    ],
)
def test_refusals(batching_server, signature, inputs, code, expected_error):
    _, client = batching_server("max_batch_size { value: 4 }")
    with pytest.raises(ServingError, match=expected_error) as caught:
        client.predict(signature, inputs)
    assert caught.value.code == code
    assert client.predict("", {"x": [2.0]})["y"] == [4.0]


def test_a_batch_that_fails_fails_every_call_in_it_alike(batching_server):
    server, client = batching_server(f"max_batch_size {{ value: 3 }} batch_timeout_micros {{ value: {LONG} }}")
    errors = call_together([lambda: client.predict("refuse", {"message": ["no"]})] * 3)
    assert [error.code for error in errors] == ["INVALID_ARGUMENT"] * 3
    assert len({error.message for error in errors}) == 1
    assert server.scheduler.enqueued_batches == 0


def test_a_value_that_is_refused_is_told_to_its_caller_alone(batching_server):
    _, client = batching_server(f"max_batch_size {{ value: 3 }} batch_timeout_micros {{ value: {LONG} }}")
    messages = ["", "mine", "yours"]
    answers = call_together(
        [lambda message=message: client.predict("refuse", {"message": [message]}) for message in messages]
    )
    assert answers[0]["message"] == [b""]
    for message, other, error in (("mine", "yours", answers[1]), ("yours", "mine", answers[2])):
        assert error.code == "INVALID_ARGUMENT"
        assert message in error.message
        assert other not in error.message


def test_a_deadline_that_passes_in_the_queue(batching_server):
    server, _ = batching_server(f"batch_timeout_micros {{ value: {LONG} }}")
    with server.core.models["tiny"].acquire() as servable:
        signature = servable.signatures["serving_default"]
        feeds = {signature.inputs["x"].handle: np.zeros([1], np.float32)}
        with pytest.raises(RequestError, match="waiting in batching queue") as caught:
            servable.run(feeds, [signature.outputs["y"].handle], 50)
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert server.scheduler.enqueued_batches == 0
    with PredictionClient(server.address, "tiny", timeout=0.2) as client, pytest.raises(ServingError) as refused:
        client.predict("", {"x": [0.0]})
    assert refused.value.code == "DEADLINE_EXCEEDED"


def test_a_full_queue_refuses_and_every_set_of_inputs_and_outputs_has_its_own(batching_server, blocked_runs):
    server, _ = batching_server(
        "max_batch_size { value: 1 } max_enqueued_batches { value: 1 } num_batch_threads { value: 1 }"
    )
    with grpc.insecure_channel(server.address) as channel:
        call = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict

        def predict(signature, output_filter=(), **inputs):
            message = predict_pb2.PredictRequest(output_filter=output_filter)
            message.model_spec.name = "tiny"
            message.model_spec.signature_name = signature
            for name, value in inputs.items():
                message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            return call.future(message, timeout=30)

        running = predict("", x=[2.0])
        blocked_runs.wait_for_begin()
        waiting = [predict("", x=[4.0])]
        wait_until(lambda: server.scheduler.enqueued_batches == 1)
        error = predict("", x=[6.0]).exception(timeout=10)
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert error.details() == (
            "The batch scheduling queue to which this task was submitted is full; currently num_enqueued_batches=1,"
            " max_enqueued_batches=1"
        )
        for count, output_filter in enumerate([(), ("text",), ("bytes",)], 2):
            waiting.append(predict("echo", output_filter, text=[["a"]]))
            wait_until(lambda count=count: server.scheduler.enqueued_batches == count)
        blocked_runs.release(1 + len(waiting))
        assert list(running.result().outputs["y"].float_val) == [4.0]
        assert [sorted(future.result().outputs) for future in waiting] == [
            ["y"],
            ["bytes", "text"],
            ["text"],
            ["bytes"],
        ]


def test_hot_swap_under_load_loses_no_call_and_frees_the_old_version(tmp_path, publish, start):
    path = tmp_path / "batching.txt"
    path.write_text("batch_timeout_micros { value: 2000 } num_batch_threads { value: 2 }")
    server = start(publish(1), "--enable_batching", f"--batching_parameters_file={path}")
    with server.core.models["tiny"].acquire() as servable:
        old = weakref.ref(servable)
    del servable
    stop = threading.Event()
    answers: list[list[float]] = [[] for _ in range(4)]

    def call_until_stopped(mine):
        with PredictionClient(server.address, "tiny", timeout=20) as client:
            while not stop.is_set():
                mine.append(float(client.predict("", {"x": [0.0]})["y"][0]))

    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(call_until_stopped, mine) for mine in answers]
        try:
            wait_until(lambda: all(mine or future.done() for mine, future in zip(answers, running, strict=True)))
            publish(2)
            wait_until(lambda: old() is None)
            wait_until(lambda: any(future.done() for future in running) or all(mine[-1] == 2.0 for mine in answers))
        finally:
            stop.set()
        for future in running:
            future.result()  # raises what a call raised
    for mine in answers:
        assert (mine[0], mine[-1]) == (1.0, 2.0)
        assert mine == sorted(mine)


def test_warm_up_goes_through_the_batches(publish, start, monkeypatch):
    from tests.serving.server.runtime.test_warm_up_replay import GOOD, write

    sizes = spy_on_runs(monkeypatch)
    base_path = publish(1)
    write(base_path / "1", [GOOD])
    start(base_path, "--enable_batching")
    assert sizes == [1]
