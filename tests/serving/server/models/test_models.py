"""Version policies, labels, several models and their replacement, over the wire."""

import time

import grpc
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.wire.errors import ServerError
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

ALLOW = "--allow_version_labels_for_unavailable_models"


class Client:
    """The original stubs. Errors are (code, message) pairs."""

    def __init__(self, channel):
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(channel)

    def predict(self, model, **choice):
        """(version, its answer to 0, which is the tiny model's number)"""
        request = predict_pb2.PredictRequest()
        fill(request.model_spec, model, **choice)
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([0.0]))
        response = self.prediction.Predict(request, timeout=10)
        assert not response.model_spec.version_label
        return response.model_spec.version.value, response.outputs["y"].float_val[0]

    def states(self, model, **choice):
        request = get_model_status_pb2.GetModelStatusRequest()
        fill(request.model_spec, model, **choice)
        response = self.model.GetModelStatus(request, timeout=10)
        name = get_model_status_pb2.ModelVersionStatus.State.Name
        return {entry.version: name(entry.state) for entry in response.model_version_status}

    def metadata(self, model, **choice):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        fill(request.model_spec, model, **choice)
        return self.prediction.GetModelMetadata(request, timeout=10).model_spec

    def reload(self, text):
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(text, request.config)
        return self.model.HandleReloadConfigRequest(request, timeout=30)


def fill(spec, model, version=None, label=None):
    spec.name = model
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label


def refused(method, *arguments, **named):
    with pytest.raises(grpc.RpcError) as caught:
        method(*arguments, **named)
    return caught.value.code().name, caught.value.details()


def entry(name, base_path, policy="", **labels):
    named = " ".join(f"version_labels {{ key: '{label}' value: {version} }}" for label, version in labels.items())
    return (
        f"config {{ name: '{name}' base_path: '{base_path}' model_platform: 'tensorflow'"
        f" model_version_policy {{ {policy} }} {named} }}"
    )


def config(*entries):
    return "model_config_list { " + " ".join(entries) + " }"


@pytest.fixture
def serve(tmp_path, start):
    """`serve(config(...), *flags)`: a client of a server with that config file; its server is `client.server`."""
    channels, servers = [], []

    def run(text, *flags):
        path = tmp_path / "models.config"
        path.write_text(text)
        server = start(None, f"--model_config_file={path}", *flags)
        servers.append(server)
        channels.append(grpc.insecure_channel(server.address))
        client = Client(channels[-1])
        client.server, client.path = server, path
        return client

    yield run
    for channel, server in zip(channels, servers, strict=True):
        channel.close()
        server.stop(0)


@pytest.fixture
def three(publish):
    for version in (1, 2, 3):
        base_path = publish(version)
    return base_path


# Version policies


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", [3]),
        ("latest { num_versions: 2 }", [3, 2]),
        ("all {}", [3, 2, 1]),
        ("specific { versions: 1 versions: 2 versions: 8 }", [2, 1]),
    ],
)
def test_policy_says_which_versions_are_served(serve, three, policy, served):
    client = serve(config(entry("m", three, policy)))
    assert client.states("m") == dict.fromkeys(served, "AVAILABLE")
    assert client.predict("m") == (served[0], served[0])
    for version in (1, 2, 3):
        if version in served:
            assert client.predict("m", version=version) == (version, version)
        else:
            expected = ("NOT_FOUND", f"Servable not found for request: Specific(m, {version})")
            assert refused(client.predict, "m", version=version) == expected


def test_a_new_version_moves_a_policys_window(serve, publish):
    publish(1)
    client = serve(config(entry("m", publish(2), "latest { num_versions: 2 }")))
    publish(3)
    wait_until(lambda: client.states("m") == {3: "AVAILABLE", 2: "AVAILABLE", 1: "END"})


# Labels


def test_requests_by_label_are_answered_with_the_version(serve, three):
    client = serve(config(entry("m", three, "all {}", stable=1, canary=3)), ALLOW)
    assert client.predict("m", label="stable") == (1, 1)
    assert client.predict("m", label="canary") == (3, 3)
    spec = client.metadata("m", label="stable")
    assert (spec.name, spec.version.value, spec.version_label) == ("m", 1, "")
    unknown = ("INVALID_ARGUMENT", "Unrecognized servable version label: x")
    for method in (client.predict, client.metadata):
        assert refused(method, "m", label="x") == unknown
        assert refused(method, "other", label="stable")[0] == "INVALID_ARGUMENT"


def test_states_by_label_are_those_of_all_versions(serve, three):
    client = serve(config(entry("m", three, "all {}", stable=1)), ALLOW)
    for label in ("stable", "x", ""):
        assert client.states("m", label=label) == dict.fromkeys((3, 2, 1), "AVAILABLE")
        assert refused(client.states, "other", label=label) == (
            "NOT_FOUND",
            "Could not find any versions of model other",
        )
    assert client.states("m", version=1) == {1: "AVAILABLE"}


def test_a_label_that_is_allowed_before_its_version_is_there(serve, publish):
    base_path = publish(1)
    client = serve(config(entry("m", base_path, "all {}", next=2)), ALLOW)
    assert refused(client.predict, "m", label="next") == (
        "NOT_FOUND",
        "Servable not found for request: Specific(m, 2)",
    )
    publish(2)
    wait_until(lambda: client.states("m").get(2) == "AVAILABLE")
    assert client.predict("m", label="next") == (2, 2)


def test_labels_at_the_start_need_the_flag(serve, three):
    with pytest.raises(ServerError, match=r"label to version 3 of model m, .*`--allow_version_labels"):
        serve(config(entry("m", three, "all {}", stable=3)))


def test_labels_move_between_available_versions_only(serve, three):
    client = serve(config(entry("m", three, "specific { versions: 1 versions: 2 }")))
    policy = "specific { versions: 1 versions: 2 }"
    client.reload(config(entry("m", three, policy, stable=1)))
    assert client.predict("m", label="stable") == (1, 1)
    client.reload(config(entry("m", three, policy, stable=2)))
    assert client.predict("m", label="stable") == (2, 2)
    for wrong in (config(entry("m", three, policy, stable=3)), config(entry("m", three, "all {}", stable=1, next=3))):
        code, message = refused(client.reload, wrong)
        assert code == "FAILED_PRECONDITION"
        assert message == (
            "Request to assign label to version 3 of model m, which is not currently available for inference"
        )
    assert client.predict("m", label="stable") == (2, 2)  # what is refused changes nothing
    assert client.states("m") == {2: "AVAILABLE", 1: "AVAILABLE"}
    client.reload(config(entry("m", three, policy)))
    assert refused(client.predict, "m", label="stable")[0] == "INVALID_ARGUMENT"


def test_the_flag_is_for_labels_that_are_new(serve, three):
    client = serve(config(entry("m", three, "specific { versions: 1 }", stable=1)), ALLOW)
    client.reload(config(entry("m", three, "specific { versions: 1 }", stable=1, next=9)))
    code, _ = refused(client.reload, config(entry("m", three, "specific { versions: 1 }", stable=9)))
    assert code == "FAILED_PRECONDITION"
    assert client.predict("m", label="stable") == (1, 1)


# Several models, and their replacement by a call


def test_several_models(serve, publish):
    client = serve(config(entry("a", publish(1, model="a")), entry("b", publish(2, model="b"))))
    assert (client.predict("a"), client.predict("b")) == ((1, 1), (2, 2))
    assert client.server.readiness == f"serving a version 1, b version 2 on {client.server.address} (gRPC)"


def test_reload_replaces_every_model_and_waits_for_the_new(serve, publish):
    a, b, c = publish(1, model="a"), publish(2, model="b"), publish(3, model="c")
    client = serve(config(entry("a", a), entry("b", b)))
    response = client.reload(config(entry("b", b), entry("c", c)))
    assert response.HasField("status")
    assert (response.status.error_code, response.status.error_message) == (0, "")
    assert (client.predict("b"), client.predict("c")) == ((2, 2), (3, 3))
    assert refused(client.predict, "a") == ("NOT_FOUND", "Servable not found for request: Latest(a)")
    wait_until(lambda: client.states("a") == {1: "END"})
    client.reload(config(entry("a", a)))
    assert client.predict("a") == (1, 1)
    assert client.states("a") == {1: "AVAILABLE"}


def test_reload_changes_a_policy(serve, three):
    client = serve(config(entry("m", three)))
    client.reload(config(entry("m", three, "specific { versions: 1 versions: 2 }")))
    wait_until(lambda: client.states("m") == {3: "END", 2: "AVAILABLE", 1: "AVAILABLE"})
    assert client.predict("m") == (2, 2)


def test_an_empty_list_serves_nothing_and_a_server_may_start_with_one(serve, publish):
    client = serve("")
    assert client.server.readiness.startswith("serving no model on ")
    base_path = publish(1)
    client.reload(config(entry("m", base_path)))
    assert client.predict("m") == (1, 1)
    client.reload("model_config_list {}")
    assert refused(client.predict, "m")[0] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("text", "expected_error"),
    [
        ("", "Only ModelConfigList is currently supported"),
        ("custom_model_config {}", "Only ModelConfigList is currently supported"),
        (config(entry("m", "/m"), entry("m", "/n")), "Illegal to list model m multiple times in config list"),
        (config(entry("m", "models")), "Expected model m to have an absolute path or URI; got base_path()=models"),
    ],
)
def test_reload_refuses(serve, publish, text, expected_error):
    client = serve(config(entry("served", publish(1))))
    code, message = refused(client.reload, text)
    assert code == "INVALID_ARGUMENT"
    assert expected_error in message
    assert client.predict("served") == (1, 1)


def test_a_new_model_that_cannot_be_served_is_told_and_served_once_it_can(serve, publish, tmp_path):
    client = serve(config(entry("a", publish(1, model="a"))))
    code, message = refused(client.reload, config(entry("a", tmp_path / "a"), entry("b", tmp_path / "b")))
    assert (code, message) == (
        "FAILED_PRECONDITION",
        f"1 model(s) did not become available: b: there is no directory {tmp_path / 'b'}",
    )
    assert client.predict("a") == (1, 1)
    publish(2, model="b")
    wait_until(lambda: client.server.core.models["b"].available_versions == [2])
    assert client.predict("b") == (2, 2)


# The config file


def test_a_changed_file_is_followed_and_a_broken_one_changes_nothing(serve, publish, caplog):
    a, b = publish(1, model="a"), publish(2, model="b")
    client = serve(config(entry("a", a)), "--model_config_file_poll_wait_seconds=1")
    client.path.write_text("model_config_list { config { nam: 'b' } }")
    time.sleep(2.5)
    messages = [record.message for record in caplog.records if str(client.path) in record.message]
    assert len(messages) == 1, messages  # once, not at every look
    assert "line 1, column 30" in messages[0]
    assert client.predict("a") == (1, 1)
    client.path.write_text(config(entry("a", a), entry("b", b)))
    wait_until(lambda: "b" in client.server.core.models and client.server.core.models["b"].available_versions)
    assert client.predict("b") == (2, 2)


def test_a_label_is_given_by_the_file_once_its_version_is_available(serve, publish):
    base_path = publish(1)
    client = serve(config(entry("m", base_path)), "--model_config_file_poll_wait_seconds=1")
    client.path.write_text(config(entry("m", base_path, "", stable=2)))
    publish(2)
    wait_until(lambda: client.server.core.configs["m"].labels == {"stable": 2})
    assert client.predict("m", label="stable") == (2, 2)


@pytest.mark.parametrize(
    ("text", "expected_error"),
    [
        ("model_config_list {\n config {\n  name 3 }}", "models.config is not a ModelServerConfig: line 3, column"),
        (config(entry("m", "relative")), "models.config: Expected model m to have an absolute path"),
        (
            config(entry("m", "/nowhere")),
            r"1 servable\(s\) did not become available: m: there is no directory /nowhere",
        ),
    ],
)
def test_a_start_with_a_file_that_cannot_be_served(serve, text, expected_error):
    with pytest.raises(ServerError, match=expected_error) as caught:
        serve(text)
    assert "\n" not in str(caught.value)


def test_a_base_path_beside_the_file_is_ignored(serve, publish, caplog):
    client = serve(config(entry("m", publish(1))), "--model_base_path=/nowhere")
    assert client.predict("m") == (1, 1)
    assert "--model_base_path and --model_name are ignored" in caplog.text
