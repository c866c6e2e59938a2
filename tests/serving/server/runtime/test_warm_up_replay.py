"""Warm-up requests are answered before a version serves; one that is not keeps it from serving."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.client.prediction_client import PredictionClient
from serving.model_files import MAX_WARM_UP_RECORDS, WARM_UP_REQUESTS
from serving.server.request_errors import RequestError
from serving.server.runtime import servable
from serving.server.runtime.warm_up_replay import replay_warm_up
from serving.wire.errors import ServerError
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


def record(signature="", **inputs):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = signature
    for name, value in inputs.items():
        log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return log


def write(directory, logs):
    path = directory / WARM_UP_REQUESTS
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log if isinstance(log, bytes) else log.SerializeToString())


GOOD = record(x=np.ones([1], np.float32))


@pytest.fixture
def directory(publish):
    return publish(1) / "1"


@pytest.fixture
def loaded(directory):
    loaded = servable.load("tiny", 1, directory)
    yield loaded
    loaded.close()


def test_every_record_is_replayed(directory, loaded):
    write(directory, [GOOD, record("echo", text=[["a"]]), prediction_log_pb2.PredictionLog()])
    assert replay_warm_up(loaded, directory) == 2  # an empty log has nothing to replay


def test_a_model_without_records_serves(directory, loaded):
    assert replay_warm_up(loaded, directory) == 0


def test_too_many_records_are_refused(directory, loaded):
    write(directory, [prediction_log_pb2.PredictionLog()] * (MAX_WARM_UP_RECORDS + 1))
    with pytest.raises(RequestError, match="exceeds the maximum"):
        replay_warm_up(loaded, directory)


def test_as_many_records_as_allowed_are_fine(directory, loaded):
    write(directory, [prediction_log_pb2.PredictionLog()] * MAX_WARM_UP_RECORDS)
    assert replay_warm_up(loaded, directory) == 0


def test_another_kind_of_record_is_refused(directory, loaded):
    log = prediction_log_pb2.PredictionLog()
    log.regress_log.SetInParent()
    write(directory, [log])
    with pytest.raises(RequestError, match="regress_log"):
        replay_warm_up(loaded, directory)


def test_bytes_that_are_no_record_are_refused(directory, loaded):
    write(directory, [b"\xff\xff"])
    with pytest.raises(RequestError, match="record 0 is not a PredictionLog"):
        replay_warm_up(loaded, directory)


def test_a_file_that_is_no_tfrecord_is_refused(directory, loaded):
    write(directory, [])
    (directory / WARM_UP_REQUESTS).write_bytes(b"not a record at all, and long enough for a header")
    with pytest.raises(RequestError):
        replay_warm_up(loaded, directory)


def test_a_record_that_is_not_answered_fails_the_load(directory, start):
    write(directory, [GOOD, record(y=np.ones([1], np.float32))])
    with pytest.raises(ServerError, match=r"did not become available: tiny version 1: warm-up record 1: .*input alias"):
        start(directory.parent)


def states(client):
    return {status.version: status.state for status in client.status()}


def wait_for_the_end_of(version, client):
    wait_until(lambda: states(client).get(version) == "END", told=lambda: states(client))


def test_a_later_version_that_fails_is_told_by_its_status_and_the_one_before_serves(directory, start, tiny_models):
    base_path = directory.parent
    server = start(base_path, "--max_num_load_retries=0")
    refused = [GOOD, record("refuse", message=np.array([b"no"], object))]
    for version, logs, expected_error in (
        (2, [GOOD, record("nope", x=np.ones([1], np.float32))], 'warm-up record 1: Serving signature key "nope" not'),
        (3, refused, "warm-up record 1: assertion failed: "),
        (4, [GOOD] * (MAX_WARM_UP_RECORDS + 1), "Number of warmup records exceeds the maximum (1000) at "),
        (5, [b"\xff\xff"], "warm-up record 0 is not a PredictionLog"),
    ):
        aside = base_path.parent / "with warm-up"
        shutil.copytree(tiny_models(2), aside)
        write(aside, logs)
        aside.rename(base_path / str(version))
        with PredictionClient(server.address, "tiny", timeout=20) as client:
            wait_for_the_end_of(version, client)
            assert states(client)[1] == "AVAILABLE"
            (failed,) = client.status(version)
            assert failed.error.startswith(expected_error)
            assert "\n" not in failed.error
            assert client.predict("", {"x": [2.0]})["y"] == [2.0]


def test_warm_up_can_be_turned_off(directory, start):
    write(directory, [record(y=np.ones([1], np.float32))])
    assert start(directory.parent, "--enable_model_warmup=false").core.models["tiny"].available_versions == [1]
