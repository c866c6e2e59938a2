"""Versions come and go on disk while calls go on."""

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serving.client.prediction_client import PredictionClient
from serving.wire.errors import ServerError, ServingError
from tests.serving.server.models.test_damaged_versions import damage
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def connect():
    clients = []

    def run(server):
        clients.append(PredictionClient(server.address, "tiny", timeout=20))
        return clients[-1]

    yield run
    for client in clients:
        client.close()


def states(client):
    return {status.version: status.state for status in client.status()}


def test_hot_swap_under_load_loses_no_call(publish, start, connect):
    client = connect(start(publish(1)))
    stop = threading.Event()
    made: list[int] = []

    def call_until_stopped(thread):
        answers = []
        while not stop.is_set():
            answers.append(float(client.predict("", {"x": [0.0]})["y"][0]))  # the version's number
            made.append(thread)
        return answers

    with ThreadPoolExecutor(3) as threads:
        running = threads.map(call_until_stopped, range(3))
        try:
            wait_until(lambda: len(made) > 100)
            publish(2)
            wait_until(lambda: states(client) == {2: "AVAILABLE", 1: "END"})
            swapped_after = len(made)
            wait_until(lambda: len(made) > swapped_after + 100)
        finally:
            stop.set()
        per_thread = list(running)  # raises what a call raised
    for answers in per_thread:
        assert (answers[0], answers[-1]) == (1.0, 2.0)
        assert answers == sorted(answers)  # no way back
    assert [status.version for status in client.status()] == [2, 1]
    with pytest.raises(ServingError, match=r"Specific\(tiny, 1\)"):
        client.predict("", {"x": [0.0]}, version=1)


def test_a_call_in_flight_ends_on_the_version_it_began_on(publish, start, connect):
    server = start(publish(1))
    client = connect(server)
    with ThreadPoolExecutor(1) as threads, server.core.models["tiny"].acquire() as servable:
        publish(2)
        wait_until(lambda: states(client).get(2) == "AVAILABLE")
        assert states(client)[1] == "UNLOADING"
        signature = servable.signatures["serving_default"]
        feeds = {signature.inputs["x"].handle: np.zeros([1], np.float32)}
        old = threads.submit(servable.run, feeds, [signature.outputs["y"].handle], None)
        assert old.result()[0] == [1.0]
        assert client.predict("", {"x": [0.0]})["y"] == [2.0]
    wait_until(lambda: states(client)[1] == "END")


def test_removing_the_latest_version_rolls_back(publish, start, connect):
    publish(1)
    base_path = publish(2)
    client = connect(start(base_path))
    assert states(client) == {2: "AVAILABLE"}
    shutil.rmtree(base_path / "2")
    wait_until(lambda: states(client) == {2: "END", 1: "AVAILABLE"})
    assert client.predict("", {"x": [0.0]})["y"] == [1.0]


def test_removing_every_version_unloads_and_a_new_one_serves_again(publish, start, connect):
    base_path = publish(1)
    client = connect(start(base_path))
    shutil.rmtree(base_path / "1")
    wait_until(lambda: states(client) == {1: "END"})
    with pytest.raises(ServingError) as caught:
        client.predict("", {"x": [0.0]})
    assert caught.value.code == "NOT_FOUND"
    publish(2)
    wait_until(lambda: states(client).get(2) == "AVAILABLE")
    assert client.predict("", {"x": [0.0]})["y"] == [2.0]


def test_losing_the_base_path_changes_nothing(publish, start, connect):
    base_path = publish(1)
    client = connect(start(base_path))
    base_path.rename(base_path.with_name("elsewhere"))
    time.sleep(1.5)
    assert client.predict("", {"x": [0.0]})["y"] == [1.0]


def test_a_directory_that_is_still_copied_is_no_version(publish, start, connect, tiny_models):
    base_path = publish(1)
    for name in ("2", "not-a-number", "9" * 30):
        (base_path / name / "variables").mkdir(parents=True)
    shutil.copy(tiny_models(2) / "saved_model.pb", base_path / "not-a-number")
    shutil.copy(tiny_models(2) / "saved_model.pb", base_path / ("9" * 30))
    client = connect(start(base_path))
    time.sleep(1.2)
    assert states(client) == {1: "AVAILABLE"}


@pytest.mark.parametrize(
    ("kind", "expected_error"),
    [
        ("half a graph", "saved_model.pb is not a SavedModel, or only a part of one"),
        ("no graph at all", "saved_model.pb is not a SavedModel, or only a part of one"),
        ("no variables", "cannot load the SavedModel: "),
        ("half the variables", "cannot load the SavedModel: "),
        ("changed variables", "cannot load the SavedModel: "),
    ],
)
def test_a_version_that_cannot_be_loaded_leaves_the_old_one(publish, start, connect, tiny_models, kind, expected_error):
    base_path = publish(1)
    client = connect(start(base_path, "--max_num_load_retries=0"))
    broken = base_path.parent / "broken"
    shutil.copytree(tiny_models(2), broken)
    damage(broken, kind)
    broken.rename(base_path / "2")
    wait_until(lambda: states(client) == {2: "END", 1: "AVAILABLE"})
    (failed,) = client.status(2)
    assert failed.error.startswith(expected_error)
    assert "\n" not in failed.error
    assert client.predict("", {"x": [0.0]})["y"] == [1.0]


def test_a_version_completed_after_it_failed_is_loaded_without_a_restart(publish, start, connect, tiny_models):
    base_path = publish(1)
    client = connect(start(base_path, "--max_num_load_retries=0"))
    source, target = tiny_models(2), base_path / "2"
    target.mkdir()
    shutil.copy(source / "saved_model.pb", target)
    wait_until(lambda: states(client) == {2: "END", 1: "AVAILABLE"})
    shutil.copytree(source, target, dirs_exist_ok=True)
    wait_until(lambda: states(client) == {2: "AVAILABLE", 1: "END"})
    assert not client.status(2)[0].error


def test_failed_loads_are_tried_again_as_often_as_told(publish, tiny_models):
    from serving.server.models.load_failures import RetryPolicy
    from serving.server.models.model import Model
    from serving.server.request_errors import invalid_argument

    attempts = []

    def fail(name, version, directory):
        attempts.append(version)
        raise invalid_argument("broken")

    model = Model("tiny", publish(1), fail, RetryPolicy(count=2, interval=0))
    for _ in range(6):
        model.poll()
    assert attempts == [1, 1, 1]
    assert model.load_errors == {1: "broken"}


@pytest.mark.parametrize("content", ["nothing", "no version", "broken version"])
def test_a_failed_first_load_is_told_at_once(tmp_path, start, content):
    base_path = tmp_path / "models"
    if content != "nothing":
        (base_path / "1").mkdir(parents=True)
    if content == "broken version":
        (base_path / "1" / "saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(ServerError, match=r"1 servable\(s\) did not become available") as caught:
        start(base_path)
    assert "\n" not in str(caught.value)


def test_an_op_that_is_not_registered_is_named_with_a_remedy(publish, start, tiny_models):
    from tensorflow.core.protobuf import saved_model_pb2

    base_path = publish(1)
    path = base_path / "1" / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    function = saved_model.meta_graphs[0].graph_def.library.function[0]
    function.node_def.add(name="search", op="Scann>ScannOfTomorrow")
    path.write_bytes(saved_model.SerializeToString())
    with pytest.raises(ServerError, match=r"Scann>ScannOfTomorrow; install `scann`"):
        start(base_path)


def test_a_server_that_cannot_start_ends_with_exit_code_1_and_one_line(tmp_path, capsys):
    from serving.server.main import main

    assert main([f"--model_base_path={tmp_path / 'nowhere'}"]) == 1
    captured = capsys.readouterr()
    assert "1 servable(s) did not become available: default: there is no directory" in captured.err
    assert not captured.out


def test_a_port_that_is_taken(publish, start):
    port = start(publish(1)).address.rsplit(":")[1]
    with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1:{port}"):
        start(publish(2), f"--port={port}")
