"""More calls than the server can answer: some wait, the others are refused at once, and it recovers."""

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

from serving.server.admission.admission import Admission, CallPool
from tests.support.ports import free_port
from tests.support.waiting import wait_until

THREADS = 2
WAITING = 3
CALM = 2.0  # seconds without a call, after which there is no overload


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
def held(server, stub):
    """Calls that hold every thread for two seconds, until their deadline; the server is calm before."""
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


def test_what_may_wait_waits_and_the_rest_is_refused_at_once(channel, stub, held):
    waiting = [stub.Predict.future(request(x=[2.0]), timeout=20) for _ in range(WAITING)]
    time.sleep(0.2)
    began = time.monotonic()
    code, message = outcome(stub.Predict.future(request(x=[2.0]), timeout=20))
    assert time.monotonic() - began < 1
    assert code == "RESOURCE_EXHAUSTED"
    assert message.startswith(
        f"Server Threadpool Exhausted: {THREADS} calls are answered at once and {WAITING} may wait"
    )
    # Whoever looks after the server is not refused: it waits with the others.
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "tiny"
    told = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus.future(asked, timeout=20)
    assert not any(call.done() for call in [*held, *waiting])
    assert [outcome(call)[0] for call in held] == ["DEADLINE_EXCEEDED"] * THREADS
    assert [outcome(call)[0] for call in waiting] == ["OK"] * WAITING
    assert told.result().model_version_status[0].version == 3


def test_calls_whose_callers_gave_up_while_they_waited_hold_no_place(stub, held):
    waiting = [stub.Predict.future(request(x=[2.0]), timeout=0.2) for _ in range(WAITING)]
    assert [outcome(call)[0] for call in waiting] == ["DEADLINE_EXCEEDED"] * WAITING
    assert [outcome(call)[0] for call in held] == ["DEADLINE_EXCEEDED"] * THREADS
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


class TestAdmission:
    """Eight threads, and four calls that may wait; in an overload four answer."""

    @pytest.fixture(autouse=True)
    def _begin(self):
        self.now = 100.0
        self.refusals = 0
        self.admission = Admission(8, 4, self.count, lambda: self.now)

    def count(self):
        self.refusals += 1

    def asked(self, calls, times=1):
        return {self.admission.refuses(calls) for _ in range(times)}

    def test_some_may_wait_and_an_overload_begins_where_no_more_may(self):
        assert self.asked(11) == {False}
        assert self.asked(12) == {True}
        assert self.asked(4) == {True}
        assert self.asked(3) == {False}
        assert self.refusals == 2

    def test_an_overload_lasts_while_more_than_a_quarter_is_refused(self):
        assert self.asked(12) == {True}
        for _ in range(3):
            self.now += 1
            assert self.asked(8) == {True}
            self.now += 0.2
            assert self.asked(4, 26) == {True}
            assert self.asked(3, 74) == {False}
        self.now += 1
        assert self.asked(3) == {False}
        self.now += 0.2
        assert self.asked(4, 25) == {True}
        assert self.asked(3, 75) == {False}
        self.now += 1
        assert self.asked(11) == {False}

    def test_trials_become_rare_while_an_overload_lasts(self):
        assert self.asked(12) == {True}
        trials = []
        for window in range(1, 120):
            self.now += 1
            assert self.asked(8) == {True}
            if self.asked(7) == {False}:  # of the two asked for so far one is refused: it goes on
                trials.append(window)
        assert trials == [1, 3, 7, 15, 31, 63, 95]

    def test_an_overload_ends_where_all_threads_are_enough(self):
        assert self.asked(12) == {True}
        self.now += 1
        assert self.asked(7) == {False}
        self.now += 0.06
        assert self.asked(7) == {False}  # still on trial
        self.now += 0.06
        assert self.asked(11) == {False}

    def test_a_trial_of_few_calls_proves_nothing(self):
        assert self.asked(12) == {True}
        self.now += 1
        assert self.asked(3) == {False}
        self.now += 0.2
        assert self.asked(4) == {True}

    @pytest.mark.parametrize(("callers", "refused"), [(8, False), (40, True)])
    def test_callers_that_ask_again_at_once_are_answered_if_there_is_a_thread_for_each(self, callers, refused):
        """Each asks again when it was answered, after 10 ms of a thread, or refused, after 1 ms."""
        assert self.asked(12) == {True}
        free_at = [self.now] * callers  # when each caller asks again
        answered_until: list[float] = []
        late = 0
        for step in range(4_000):
            self.now = 100.0 + step / 1000
            answered_until = [until for until in answered_until if until > self.now]
            for caller in range(callers):
                if free_at[caller] <= self.now:
                    if self.admission.refuses(len(answered_until)):
                        free_at[caller] = self.now + 0.001
                        late += step >= 3_000
                    else:
                        answered_until.append(self.now + 0.010)
                        free_at[caller] = answered_until[-1]
        assert (late > 0) == refused

    def test_an_overload_ends_while_no_call_comes(self):
        assert self.asked(12, 50) == {True}
        self.now += 2
        assert self.asked(11) == {False}

    def test_where_none_may_wait_one_thread_still_answers(self):
        admission = Admission(1, 0, self.count, lambda: self.now)
        assert [admission.refuses(calls) for calls in (0, 1, 0)] == [False, True, False]


def test_a_pool_counts_what_is_cancelled_before_it_begins():
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
