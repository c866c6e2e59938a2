"""The REST API over HTTP: what is answered, with which code, and what clients that misbehave cannot do."""

import gzip
import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serving.client.prediction_client import PredictionClient
from serving.server.flags import parse_flags
from serving.server.process import ServerProcess
from serving.server.rest import http_server
from serving.wire.errors import ServerError, ServerUsageError
from tests.support.ports import free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

PREDICT = "/v1/models/tiny:predict"


@pytest.fixture(scope="module")
def start_rest(start):
    """`start_rest(base_path, *flags)`: a server that answers REST too."""
    return lambda base_path, *flags: start(base_path, f"--rest_api_port={free_port()}", *flags)


@pytest.fixture(scope="module")
def server(tiny_models, start_rest, tmp_path_factory):
    path = tmp_path_factory.mktemp("rest") / "monitoring.txt"
    path.write_text("prometheus_config { enable: true }")
    return start_rest(tiny_models(3).parent, f"--monitoring_config_file={path}")


@pytest.fixture
def connection(server):
    host, port = server.rest.address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    yield connection
    connection.close()


@pytest.fixture
def ask(connection):
    """`ask("GET", path)`: (code, parsed JSON)."""

    def run(method, path, body=None, headers=None):
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        connection.request(method, path, data, headers or {})
        response = connection.getresponse()
        content = response.read()
        assert response.headers["Content-Type"] == "application/json"
        return response.status, json.loads(content) if content else None

    return run


# Predict


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/tiny/versions/3:predict", "/V1/Models/t%69ny:predict?a=b"])
def test_predict_by_row_and_by_column(ask, path):
    assert ask("POST", path, {"instances": [1.0, 2]}) == (200, {"predictions": [3.5, 4.0]})
    assert ask("POST", path, {"inputs": [1.0, 2], "signature_name": "serving_default"}) == (
        200,
        {"outputs": [3.5, 4.0]},
    )


def test_several_inputs_and_outputs(ask):
    body = {"signature_name": "echo", "instances": [{"text": ["读书", ""]}, {"text": [{"b64": "YQ=="}, "b"]}]}
    assert ask("POST", PREDICT, body) == (
        200,
        {"predictions": [{"bytes": [6, 0], "text": ["读书", ""]}, {"bytes": [1, 1], "text": ["a", "b"]}]},
    )
    body = {"signature_name": "two", "inputs": {"a": [1, -2], "b": [[3, 4]]}}
    expected = {"flags": [True, False], "sum": -1.0, "twice": [[6, 8]]}
    assert ask("POST", PREDICT, body) == (200, {"outputs": expected})


def test_rest_and_grpc_answer_the_same(ask, server):
    values = np.linspace(-3, 3, 7, dtype=np.float32)
    with PredictionClient(server.address, "tiny", timeout=20) as client:
        expected = client.predict("", {"x": values})["y"]
    _, answer = ask("POST", PREDICT, {"instances": [float(value) for value in values]})
    np.testing.assert_array_equal(np.array(answer["predictions"], np.float32), expected)


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "expected_error"),
    [
        ("POST", "/v1/models/tiny/labels/a:predict", {"instances": [1]}, 400, "Unrecognized servable version label: a"),
        ("POST", "/v1/models/tiny/versions/x:predict", {"instances": [1]}, 400, "Malformed request: POST /v1/models"),
        (
            "POST",
            PREDICT,
            {"instances": [1], "signature_name": "no\ud800"},
            400,
            'Serving signature name: "no\ud800" not found in signature def',
        ),
        ("POST", PREDICT, {"instances": ["a"], "signature_name": "refuse"}, 400, "a"),
        ("POST", PREDICT, {"instances": [1], "inputs": [1]}, 400, "expecting only one of"),
        ("POST", PREDICT, b"\xff", 400, "The text is not UTF-8 at offset: 0"),
        ("POST", "/v1/models/tiny", None, 400, "Malformed request: POST /v1/models/tiny"),
        ("GET", "/v2/models/tiny", None, 404, "There is nothing at /v2/models/tiny"),
        ("GET", "/v1/models/tiny/labels/a/metadata", None, 400, "Unrecognized servable version label: a"),
    ],
)
def test_refusals(ask, method, path, body, code, expected_error):
    received, answer = ask(method, path, body)
    assert (received, list(answer)) == (code, ["error"])
    assert expected_error in answer["error"]


def test_head_is_refused_without_a_body(ask):
    assert ask("HEAD", "/v1/models/tiny") == (400, None)
    assert ask("POST", PREDICT, {"instances": [1]})[0] == 200  # on the same connection


def test_a_prediction_that_takes_too_long(tiny_models, start_rest):
    server = start_rest(tiny_models(3).parent, "--rest_api_timeout_in_ms=100")
    host, port = server.rest.address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request("POST", PREDICT, json.dumps({"signature_name": "slow", "inputs": 10**8}))
    response = connection.getresponse()
    assert response.status == 504
    assert "error" in json.loads(response.read())
    connection.close()


# Status and metadata


@pytest.mark.parametrize("path", ["/v1/models/tiny", "/v1/models/tiny/versions/3"])
def test_status(ask, path):
    entry = {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert ask("GET", path) == (200, {"model_version_status": [entry]})


def test_metadata(ask):
    code, answer = ask("GET", "/v1/models/tiny/metadata")
    assert code == 200
    assert answer["model_spec"] == {"name": "tiny", "signature_name": "", "version": "3"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "name": "serving_default_x:0",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
    }


# Metrics


def test_metrics_are_read_where_the_file_says(ask, connection, server):
    def metrics():
        connection.request("GET", "/monitoring/prometheus/metrics")
        response = connection.getresponse()
        assert (response.status, response.headers["Content-Type"]) == (200, "text/plain")
        lines = response.read().decode().splitlines()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}

    counts = [f':tensorflow:serving:request_count{{model_name="tiny",status="{code}"}}' for code in ("OK", "NOT_FOUND")]
    latencies = [
        f':tensorflow:serving:request_latency_count{{model_name="tiny",API="{api}",entrypoint="{entrypoint}"}}'
        for api, entrypoint in (("predict", "REST"), ("Predict", "GRPC"))
    ]
    before = metrics()
    ask("POST", PREDICT, {"instances": [1]})
    ask("POST", "/v1/models/tiny/versions/7:predict", {"instances": [1]})
    with PredictionClient(server.address, "tiny", timeout=20) as client:
        client.predict("", {"x": [1.0]})
    after = metrics()
    grown = [after[name] - before.get(name, 0) for name in (*counts, *latencies)]
    assert grown == [2, 1, 1, 1]


def test_metrics_are_off_without_a_file(tiny_models, start_rest):
    server = start_rest(tiny_models(3).parent)
    host, port = server.rest.address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request("GET", "/monitoring/prometheus/metrics")
    assert connection.getresponse().status == 404
    connection.close()


# HTTP


def test_connections_are_kept(ask, connection):
    ask("POST", PREDICT, {"instances": [1]})
    sock = connection.sock
    for _ in range(20):
        assert ask("POST", PREDICT, b"{")[0] == 400
    assert connection.sock is sock


def test_packed_bodies(ask):
    packed = gzip.compress(json.dumps({"instances": [1]}).encode())
    headers = {"Content-Encoding": "gzip"}
    assert ask("POST", PREDICT, packed, headers) == (200, {"predictions": [3.5]})
    assert "is not gzip" in ask("POST", PREDICT, b"no gzip", headers)[1]["error"]
    assert "ends too early" in ask("POST", PREDICT, packed[:-9], headers)[1]["error"]
    assert ask("POST", PREDICT, packed, {"Content-Encoding": "br"})[0] == 415


def test_a_body_in_chunks(connection):
    connection.request("POST", PREDICT, iter([b'{"instances"', b": [1]}"]), encode_chunked=True)
    assert json.loads(connection.getresponse().read()) == {"predictions": [3.5]}


def test_a_body_that_is_too_large(ask, monkeypatch):
    monkeypatch.setattr(http_server, "_MAX_BODY", 1000)
    code, answer = ask("POST", PREDICT, b" " * 100_000)
    assert (code, answer["error"]) == (413, "The body has 100000 bytes; at most 1000 are read.")
    code, answer = ask("POST", PREDICT, gzip.compress(b" " * 50_000), {"Content-Encoding": "gzip"})
    assert (code, answer["error"]) == (413, "The body unpacks to more than 1000 bytes.")
    assert ask("POST", PREDICT, {"instances": [1]})[0] == 200


GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client
    b"\r\n\r\n",
    b"POST\r\n\r\n",
    b"GET http://[/v1/models/tiny HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/9.9\r\n\r\n",
    b"POST /v1/models/tiny:predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    b"POST /v1/models/tiny:predict HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    b"POST /v1/models/tiny:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
    bytes(range(256)) * 300,
]


def test_garbage_and_half_sent_requests_leave_the_server_answering(server, ask):
    host, port = server.rest.address.split(":")
    address = (host, int(port))
    half_sent = [socket.create_connection(address) for _ in range(50)]
    for sock in half_sent:
        sock.sendall(b"POST /v1/models/tiny:predict HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
    for garbage in GARBAGE:
        with socket.create_connection(address) as sock:
            sock.settimeout(10)
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            try:
                answered = sock.recv(100)
            except ConnectionResetError:
                answered = b""
            assert answered == b"" or answered.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 ")), answered
    assert ask("POST", PREDICT, {"instances": [1]}) == (200, {"predictions": [3.5]})
    for sock in half_sent:
        sock.close()


def test_what_does_not_go_on_is_ended(tiny_models, start_rest, monkeypatch):
    monkeypatch.setattr(http_server, "_IDLE_SECONDS", 0.3)
    monkeypatch.setattr(http_server, "_BODY_SECONDS", 0.3)
    server = start_rest(tiny_models(3).parent)
    host, port = server.rest.address.split(":")
    for sent in (b"", b"POST /v1/mod", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"):
        with socket.create_connection((host, int(port))) as sock:
            sock.settimeout(10)
            sock.sendall(sent)
            assert sock.recv(100) == b""


def test_a_client_that_goes_or_reads_nothing_holds_nothing_up(tiny_models, start_rest, monkeypatch, caplog):
    monkeypatch.setattr(http_server, "_WRITE_SECONDS", 0.5)
    server = start_rest(tiny_models(3).parent)
    host, port = server.rest.address.split(":")

    def send(body):
        sock = socket.create_connection((host, int(port)))
        sock.sendall(f"POST {PREDICT} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        return sock

    gone = send(json.dumps({"signature_name": "slow", "inputs": 100}))
    time.sleep(0.1)
    gone.close()
    deaf = send(json.dumps({"inputs": [0] * 2_000_000}))  # its reply does not fit into the sockets' buffers
    wait_until(lambda: server.rest._connections.in_flight)
    wait_until(lambda: not server.rest._connections.in_flight, told=lambda: "a reply that nobody takes is still held")
    deaf.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_many_at_once(server):
    host, port = server.rest.address.split(":")

    def call(number):
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        answers = []
        for _ in range(10):
            connection.request("POST", PREDICT, json.dumps({"instances": [number]}))
            answers.append(json.loads(connection.getresponse().read())["predictions"])
        connection.close()
        return answers

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(call, range(16))) == [[[number / 2 + 3]] * 10 for number in range(16)]


# Start and stop


def test_what_is_in_flight_is_answered_before_the_server_stops(publish):
    port = free_port()
    with ServerProcess(publish(1), "tiny", arguments=[f"--rest_api_port={port}"]) as server:
        assert server.readiness == f"serving tiny version 1 on {server.address} (gRPC) and 127.0.0.1:{port} (REST)"
        connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(2)]
        body = json.dumps({"signature_name": "slow", "inputs": 1000})
        connections[0].request("POST", PREDICT, body)
        connections[0].getresponse().read()
        connections[1].request("GET", "/v1/models/tiny")  # stays open, and must not hold the server up
        connections[1].getresponse().read()
        connections[0].request("POST", PREDICT, body)
        time.sleep(0.1)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        response = connections[0].getresponse()
        assert (response.status, json.loads(response.read())) == (200, {"outputs": 200.0})
        stopping.join()
        assert server.returncode == 0
        for connection in connections:
            connection.close()


def test_a_port_that_is_taken(tiny_models, start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1:{port} for REST"):
            start(tiny_models(3).parent, f"--rest_api_port={port}")


def test_flags():
    flags = parse_flags(["--model_base_path=/m"])
    assert (flags.rest_api_port, flags.rest_api_timeout_in_ms) == (0, 30_000)
    with pytest.raises(ServerUsageError, match="`--rest_api_port` cannot be same as `--port`"):
        parse_flags(["--model_base_path=/m", "--port=8501", "--rest_api_port=8501"])


def test_metrics_without_a_port_are_wrong_usage(tiny_models, start, tmp_path):
    path = tmp_path / "monitoring.txt"
    path.write_text("prometheus_config { enable: true }")
    with pytest.raises(ServerUsageError, match="which need `--rest_api_port`"):
        start(tiny_models(3).parent, f"--monitoring_config_file={path}")
