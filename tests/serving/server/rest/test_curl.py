"""The REST API as `curl` sees it: a golden table of requests and the replies to them, to the letter."""

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from serving.client.prediction_client import PredictionClient
from tests.support.ports import free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(
    shutil.which("curl") is None, reason="the program `curl` is not there: `apt-get install curl`"
)

PREDICT = "/v1/models/tiny:predict"
METRICS = "/monitoring/prometheus/metrics"
AVAILABLE = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


class Reply(NamedTuple):
    code: int
    content_type: str
    body: bytes


def curl(server, method, path, body=None, *options):
    """What `curl` receives. A `body` that is no bytes is sent as JSON."""
    command = ["curl", "--silent", "--show-error", "--globoff", "--max-time", "30", "--request", method, *options]
    if body is not None:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        command += ["--data-binary", "@-", "--header", "Content-Type: application/json"]
    command += ["--write-out", "\n%{http_code} %{content_type}", f"http://{server.rest.address}{path}"]
    done = subprocess.run(command, input=body, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    content, _, write_out = done.stdout.rpartition(b"\n")
    code, _, content_type = write_out.decode().partition(" ")
    return Reply(int(code), content_type, content)


def asked(server, method, path, body=None, *options):
    """(status, parsed JSON)"""
    reply = curl(server, method, path, body, *options)
    assert reply.content_type == "application/json"
    return reply.code, json.loads(reply.body)


@pytest.fixture(scope="module")
def start_rest(start):
    """`start_rest(base_path, *flags)`: a server that answers REST too."""
    return lambda base_path, *flags: start(base_path, f"--rest_api_port={free_port()}", *flags)


@pytest.fixture(scope="module")
def server(tiny_models, start_rest, tmp_path_factory):
    """Serves versions 1, with the label `stable`, and 3."""
    directory = tmp_path_factory.mktemp("curl")
    base_path = tiny_models(1).parent
    tiny_models(3)
    (directory / "models.config").write_text(
        f"model_config_list {{ config {{ name: 'tiny' base_path: '{base_path}' model_platform: 'tensorflow'"
        " model_version_policy { specific { versions: 1 versions: 3 } }"
        " version_labels { key: 'stable' value: 1 } } }"
    )
    (directory / "monitoring.txt").write_text("prometheus_config { enable: true }")
    return start_rest(
        None,
        f"--model_config_file={directory / 'models.config'}",
        "--allow_version_labels_for_unavailable_models",
        f"--monitoring_config_file={directory / 'monitoring.txt'}",
    )


BOTH = {"model_version_status": [{"version": "3", **AVAILABLE}, {"version": "1", **AVAILABLE}]}
ANSWERED = [
    # By row and by column; a single input may go unnamed, a single output is not wrapped
    ("POST", PREDICT, {"instances": [1.0, 2]}, {"predictions": [3.5, 4.0]}),
    ("POST", PREDICT, {"instances": [{"x": 1.0}, {"x": 2}]}, {"predictions": [3.5, 4.0]}),
    ("POST", PREDICT, {"inputs": [1.0, 2]}, {"outputs": [3.5, 4.0]}),
    ("POST", PREDICT, {"inputs": {"x": [1.0, 2]}}, {"outputs": [3.5, 4.0]}),
    ("POST", PREDICT, {"inputs": []}, {"outputs": []}),
    # Versions and labels
    ("POST", "/v1/models/tiny/versions/1:predict", {"instances": [1.0]}, {"predictions": [1.5]}),
    ("POST", "/v1/models/tiny/versions/3:predict", {"instances": [1.0]}, {"predictions": [3.5]}),
    ("POST", "/v1/models/tiny/labels/stable:predict", {"inputs": [1.0]}, {"outputs": [1.5]}),
    # Signatures; several inputs and outputs
    ("POST", PREDICT, {"signature_name": "serving_default", "instances": [1.0]}, {"predictions": [3.5]}),
    (
        "POST",
        PREDICT,
        {"signature_name": "two", "inputs": {"a": [1, -2], "b": [[3, 4]]}},
        {"outputs": {"flags": [True, False], "sum": -1.0, "twice": [[6, 8]]}},
    ),
    (
        "POST",
        PREDICT,
        {"signature_name": "echo", "instances": [{"text": ["读书", ""]}, {"text": [{"b64": "6K+75Lmm"}, "b"]}]},
        {"predictions": [{"bytes": [6, 0], "text": ["读书", ""]}, {"bytes": [6, 1], "text": ["读书", "b"]}]},
    ),
    (
        "POST",
        PREDICT,
        {"signature_name": "echo", "inputs": [[{"b64": "AA=="}, "\U0001f600"]]},
        {"outputs": {"bytes": [[1, 4]], "text": [["\x00", "\U0001f600"]]}},
    ),
    # Status, of all versions, the highest first, and of one; labels are ignored
    ("GET", "/v1/models/tiny", None, BOTH),
    ("GET", "/v1/models/tiny/versions/3", None, {"model_version_status": [{"version": "3", **AVAILABLE}]}),
    ("GET", "/v1/models/tiny/labels/stable", None, BOTH),
    ("GET", "/v1/models/tiny/labels/canary", None, BOTH),
]


@pytest.mark.parametrize(("method", "path", "body", "expected"), ANSWERED)
def test_what_is_answered(server, method, path, body, expected):
    assert asked(server, method, path, body) == (200, expected)


ONE = {"instances": [1]}
TWO_INPUTS = {"signature_name": "two"}
REFUSED = [
    # NOT_FOUND
    ("POST", "/v1/models/other:predict", ONE, 404, "Servable not found for request: Latest(other)"),
    ("POST", "/v1/models/tiny/versions/7:predict", ONE, 404, "Servable not found for request: Specific(tiny, 7)"),
    ("GET", "/v1/models/other", None, 404, "Could not find any versions of model other"),
    ("GET", "/v1/models/other/labels/stable", None, 404, "Could not find any versions of model other"),
    ("GET", "/v1/models/tiny/versions/9", None, 404, "Could not find version 9 of model tiny"),
    ("GET", "/v1/models/other/metadata", None, 404, "Servable not found for request: Latest(other)"),
    ("GET", "/v1/models/tiny/versions/7/metadata", None, 404, "Servable not found for request: Specific(tiny, 7)"),
    ("GET", "/", None, 404, "There is nothing at /. Paths start with /v1/models/"),
    (
        "POST",
        "/v2/models/tiny:predict",
        ONE,
        404,
        "There is nothing at /v2/models/tiny:predict. Paths start with /v1/models/",
    ),
    # INVALID_ARGUMENT: which model
    ("POST", "/v1/models/tiny/labels/canary:predict", ONE, 400, "Unrecognized servable version label: canary"),
    ("GET", "/v1/models/tiny/labels/canary/metadata", None, 400, "Unrecognized servable version label: canary"),
    (
        "POST",
        f"/v1/models/tiny/versions/{2**63}:predict",
        ONE,
        400,
        f"Failed to convert version: {2**63} to numeric.",
    ),
    ("POST", "/v1/models/%ff:predict", ONE, 400, "Failed to decode model name:%ff"),
    ("GET", "/v1/models", None, 400, "Missing model name in request."),
    (
        "POST",
        PREDICT,
        {"signature_name": "nope", **ONE},
        400,
        'Serving signature name: "nope" not found in signature def',
    ),
    # INVALID_ARGUMENT: no such path for the method
    ("GET", PREDICT, None, 400, f"Malformed request: GET {PREDICT}"),
    ("PUT", PREDICT, ONE, 400, f"Malformed request: PUT {PREDICT}"),
    ("DELETE", PREDICT, None, 400, f"Malformed request: DELETE {PREDICT}"),
    ("PATCH", PREDICT, ONE, 400, f"Malformed request: PATCH {PREDICT}"),
    ("OPTIONS", PREDICT, None, 400, f"Malformed request: OPTIONS {PREDICT}"),
    ("POST", "/v1/models/tiny", ONE, 400, "Malformed request: POST /v1/models/tiny"),
    ("POST", "/v1/models/tiny:nothing", ONE, 400, "Malformed request: POST /v1/models/tiny:nothing"),
    ("GET", "/v1/models/tiny/nothing", None, 400, "Malformed request: GET /v1/models/tiny/nothing"),
    # INVALID_ARGUMENT: the document
    ("POST", PREDICT, b"", 400, "JSON Parse error: The document is empty"),
    (
        "POST",
        PREDICT,
        b"{",
        400,
        "JSON Parse error: Expecting property name enclosed in double quotes at offset: 1",
    ),
    ("POST", PREDICT, b'{"instances": [1]} []', 400, "JSON Parse error: Extra data at offset: 19"),
    ("POST", PREDICT, b'{"instances": ["\xff"]}', 400, "JSON Parse error: The text is not UTF-8 at offset: 16"),
    ("POST", PREDICT, b"[1, 2]", 400, "JSON Value: [1, 2] Is not object"),
    ("POST", PREDICT, b'{"x": [1]}', 400, "Missing 'inputs' or 'instances' key"),
    (
        "POST",
        PREDICT,
        {"instances": [1], "inputs": [2]},
        400,
        'JSON Value: {"instances": [1], "inputs": [2]} Not formatted correctly expecting only one of \'inputs\' or'
        " 'instances' keys to exist ",
    ),
    (
        "POST",
        PREDICT,
        {"instances": 1},
        400,
        "JSON Value: {\"instances\": 1} Excepting 'instances' to be an list/array",
    ),
    ("POST", PREDICT, {"instances": []}, 400, "JSON Value: {\"instances\": []} No values in 'instances' array"),
    (
        "POST",
        PREDICT,
        {"signature_name": 1, "inputs": [2]},
        400,
        'JSON Value: {"signature_name": 1, "inputs": [2]} not formatted correctly. \'signature_name\' key must be a'
        " string value.",
    ),
    # INVALID_ARGUMENT: the values
    (
        "POST",
        PREDICT,
        {"instances": [1, "a"]},
        400,
        "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"a\" Type: String is"
        " not of expected type: float",
    ),
    (
        "POST",
        PREDICT,
        {"inputs": {"x": ["a"]}},
        400,
        'JSON Value: "a" Type: String is not of expected type: float (input x)',
    ),
    ("POST", PREDICT, {"inputs": 1}, 400, "Input x should have the shape [-1] (-1: any size). Received: []"),
    ("POST", PREDICT, {"instances": [[1]]}, 400, "Input x should have the shape [-1] (-1: any size). Received: [1, 1]"),
    (
        "POST",
        PREDICT,
        {"instances": [{"x": 1, "y": 2}]},
        400,
        "Failed to process element: 0 key: y of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have"
        " named input: y",
    ),
    (
        "POST",
        PREDICT,
        {**TWO_INPUTS, "instances": [{"a": 1}]},
        400,
        "Failed to process element: 0 of 'instances' list. JSON object: {\"a\": 1} keys must be equal to: a,b",
    ),
    ("POST", PREDICT, {**TWO_INPUTS, "inputs": {"a": [1]}}, 400, "Missing named input: b in 'inputs' object."),
    (
        "POST",
        PREDICT,
        {**TWO_INPUTS, "inputs": {"a": [1], "b": [[1, 2, 3]]}},
        400,
        "Input b should have the shape [-1, 2] (-1: any size). Received: [1, 3]",
    ),
    (
        "POST",
        PREDICT,
        {**TWO_INPUTS, "inputs": {"a": [1], "b": [[1, 2], [3]]}},
        400,
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2 (input b)",
    ),
    (
        "POST",
        PREDICT,
        {**TWO_INPUTS, "instances": [{"a": 1, "b": [1, 2]}]},
        400,
        "Tensor name: sum has no shape information ",
    ),
    (
        "POST",
        PREDICT,
        {"signature_name": "echo", "inputs": [[{"b64": "=x="}]]},
        400,
        "Unable to base64 decode (input text)",
    ),
    # UNIMPLEMENTED
    (
        "POST",
        "/v1/models/tiny:classify",
        {"examples": []},
        501,
        "classify is for signatures of tf.Example; this server answers predict.",
    ),
    (
        "POST",
        "/v1/models/tiny:regress",
        {"examples": []},
        501,
        "regress is for signatures of tf.Example; this server answers predict.",
    ),
    ("TRACE", PREDICT, None, 501, "The method TRACE is not supported."),
]


@pytest.mark.parametrize(("method", "path", "body", "code", "expected_error"), REFUSED)
def test_refusals(server, method, path, body, code, expected_error):
    assert asked(server, method, path, body) == (code, {"error": expected_error})


@pytest.mark.parametrize(
    ("place", "version"), [("", "3"), ("/versions/3", "3"), ("/versions/1", "1"), ("/labels/stable", "1")]
)
def test_metadata(server, place, version):
    code, answer = asked(server, "GET", f"/v1/models/tiny{place}/metadata")
    assert code == 200
    assert answer["model_spec"] == {"name": "tiny", "signature_name": "", "version": version}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "two", "echo", "__saved_model_init_op"} <= set(signatures)
    text = {
        "dtype": "DT_STRING",
        "name": "echo_text:0",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}] * 2, "unknown_rank": False},
    }
    assert signatures["echo"]["inputs"] == {"text": text}
    assert {name: output["dtype"] for name, output in signatures["echo"]["outputs"].items()} == {
        "text": "DT_STRING",
        "bytes": "DT_INT32",
    }
    assert signatures["echo"]["method_name"] == "tensorflow/serving/predict"


def test_metrics(server):
    def count(status):
        reply = curl(server, "GET", METRICS)
        assert (reply.code, reply.content_type) == (200, "text/plain")
        wanted = f':tensorflow:serving:request_count{{model_name="tiny",status="{status}"}} '.encode()
        return sum(int(line.removeprefix(wanted)) for line in reply.body.splitlines() if line.startswith(wanted))

    before = count("OK"), count("NOT_FOUND")
    assert curl(server, "POST", PREDICT, ONE).code == 200
    assert curl(server, "POST", "/v1/models/tiny/versions/7:predict", ONE).code == 404
    assert (count("OK"), count("NOT_FOUND")) == (before[0] + 1, before[1] + 1)
    for name in ("made_up", "another"):
        assert curl(server, "POST", f"/v1/models/{name}:predict", ONE).code == 404
    text = curl(server, "GET", METRICS).body
    assert b'request_count{model_name="other",status="NOT_FOUND"} ' in text
    assert b"made_up" not in text
    bucket = b':tensorflow:serving:request_latency_bucket{model_name="tiny",API="predict",entrypoint="REST",le="'
    limits = [
        line[len(bucket) :].split(b'"')[0]
        for line in curl(server, "GET", METRICS).body.splitlines()
        if line.startswith(bucket)
    ]
    assert (limits[:4], limits[-1], len(limits)) == ([b"10", b"18", b"32.4", b"58.32"], b"+Inf", 34)


def test_a_body_that_curl_sends_only_when_told_to_go_on(server):
    """Of a large body `curl` sends the headers first and awaits "100 Continue"."""
    text = "読書 " * 300_000
    body = {"signature_name": "echo", "inputs": [[text]]}
    code, answer = asked(server, "POST", PREDICT, body, "--expect100-timeout", "60")
    assert (code, answer["outputs"]["bytes"]) == (200, [[len(text.encode())]])
    assert answer["outputs"]["text"] == [[text]]


def test_too_many_requests_and_one_that_takes_too_long(tiny_models, start_rest):
    """RESOURCE_EXHAUSTED and DEADLINE_EXCEEDED. Who asks for the status is answered all the same."""
    flags = ("--rest_api_num_threads=2", "--max_waiting_calls=0", "--rest_api_timeout_in_ms=2000")
    server = start_rest(tiny_models(3).parent, *flags)
    model = server.core.models["tiny"]
    slow = {"signature_name": "slow", "inputs": 10**9}

    def users():
        with model.acquire() as servable:
            return servable.users - 1

    with ThreadPoolExecutor(2) as threads:
        late = [threads.submit(asked, server, "POST", PREDICT, slow) for _ in range(2)]
        wait_until(lambda: users() == 2)
        code, answer = asked(server, "POST", PREDICT, ONE)
        assert (code, list(answer)) == (429, ["error"])
        assert answer["error"].startswith("Server Threadpool Exhausted: 2 calls are answered at once and 0 may wait")
        for reply in late:
            code, answer = reply.result()
            assert (code, list(answer)) == (504, ["error"])
    assert asked(server, "GET", "/v1/models/tiny")[0] == 200
    wait_until(lambda: users() == 0)
    assert asked(server, "POST", PREDICT, ONE) == (200, {"predictions": [3.5]})


def test_a_full_batching_queue_and_an_output_that_is_not_batched(tiny_models, start_rest, tmp_path, blocked_runs):
    """UNAVAILABLE and FAILED_PRECONDITION."""
    path = tmp_path / "batching.txt"
    path.write_text("max_batch_size { value: 2 } max_enqueued_batches { value: 1 } num_batch_threads { value: 1 }")
    flags = ("--enable_batching", f"--batching_parameters_file={path}")
    server = start_rest(tiny_models(3).parent, *flags)
    full = {"instances": [1, 2]}
    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(asked, server, "POST", PREDICT, full)
        blocked_runs.wait_for_begin()
        waiting = threads.submit(asked, server, "POST", PREDICT, full)
        wait_until(lambda: server.scheduler.enqueued_batches == 1)
        code, answer = asked(server, "POST", PREDICT, full)
        assert (code, answer["error"]) == (
            503,
            "The batch scheduling queue to which this task was submitted is full; currently num_enqueued_batches=1,"
            " max_enqueued_batches=1",
        )
        blocked_runs.release(3)
        assert running.result() == waiting.result() == (200, {"predictions": [3.5, 4.0]})
    body = {**TWO_INPUTS, "inputs": {"a": [1, 2], "b": [[1, 2], [3, 4]]}}
    assert asked(server, "POST", PREDICT, body) == (400, {"error": "Batched output tensor has 0 dimensions"})


def test_rest_stays_in_the_clear_where_grpc_has_tls(tiny_models, start_rest, tmp_path):
    from google.protobuf import text_format

    from serving.client.connection import Tls
    from serving.wire.protos.ssl_config_pb2 import SSLConfig
    from tests.serving.certificates import Authority

    authority = Authority("servers")
    key, certificate = authority.issue("server")
    path, root = tmp_path / "ssl.config", tmp_path / "root.pem"
    path.write_text(text_format.MessageToString(SSLConfig(server_key=key, server_cert=certificate)))
    root.write_text(authority.certificate)
    server = start_rest(tiny_models(3).parent, f"--ssl_config_file={path}")
    assert asked(server, "POST", PREDICT, ONE) == (200, {"predictions": [3.5]})
    with PredictionClient(server.address, "tiny", 20, tls=Tls(root)) as client:
        assert client.predict("", {"x": [1.0]})["y"] == [3.5]
