"""TLS and mutual TLS, over the wire, with certificates made for the tests."""

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from serving.wire.errors import ServerError
from serving.wire.protos.ssl_config_pb2 import SSLConfig
from tests.serving.certificates import Authority


@pytest.fixture(scope="module")
def authority():
    return Authority("servers")


@pytest.fixture(scope="module")
def client_authority():
    return Authority("clients")


@pytest.fixture
def serve(publish, start, tmp_path):
    servers = []

    def run(**fields):
        path = tmp_path / "ssl.config"
        path.write_text(text_format.MessageToString(SSLConfig(**fields)))
        servers.append(start(publish(1), f"--ssl_config_file={path}"))
        return servers[-1].address

    yield run
    for server in servers:
        server.stop(0)


def status(channel):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "tiny"
    with channel:
        response = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=5)
    return [entry.version for entry in response.model_version_status]


def secure(address, root, key=None, certificate=None):
    credentials = grpc.ssl_channel_credentials(
        root.encode(), key.encode() if key else None, certificate.encode() if certificate else None
    )
    return grpc.secure_channel(address, credentials)


def test_tls(serve, authority, client_authority):
    key, certificate = authority.issue("server")
    address = serve(server_key=key, server_cert=certificate)
    assert status(secure(address, authority.certificate)) == [1]
    for channel in (grpc.insecure_channel(address), secure(address, client_authority.certificate)):
        with pytest.raises(grpc.RpcError) as caught:
            status(channel)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_mutual_tls(serve, authority, client_authority):
    key, certificate = authority.issue("server")
    address = serve(server_key=key, server_cert=certificate, custom_ca=client_authority.certificate, client_verify=True)
    assert status(secure(address, authority.certificate, *client_authority.issue("client"))) == [1]
    for identity in ((), authority.issue("of another authority")):
        with pytest.raises(grpc.RpcError) as caught:
            status(secure(address, authority.certificate, *identity))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("change", "expected_error"),
    [
        ({"server_key": ""}, "`server_key` should be a PEM text. It is empty"),
        ({"server_cert": ""}, "`server_cert` should be a PEM text. It is empty"),
        ({"client_verify": True}, "`client_verify` needs `custom_ca`"),
        ({"server_key": "no key"}, "`server_key` or `server_cert` is no PEM text"),
        ({"server_cert": "no certificate"}, "`server_key` or `server_cert` is no PEM text"),
        ({"custom_ca": "no authority", "client_verify": True}, "`custom_ca` is no PEM text"),
    ],
)
def test_what_cannot_be_used_is_told_at_the_start(serve, authority, change, expected_error):
    key, certificate = authority.issue("server")
    with pytest.raises(ServerError, match=expected_error):
        serve(**{"server_key": key, "server_cert": certificate, **change})


def test_a_key_of_another_certificate(serve, authority):
    with pytest.raises(ServerError, match="do not belong together"):
        serve(server_key=authority.issue("one")[0], server_cert=authority.issue("other")[1])


@pytest.mark.parametrize("text", ['server_key: "secret words', 'server_kei: "secret words"', "server_key: secret"])
def test_a_broken_file_is_told_without_what_stands_in_it(publish, start, tmp_path, text):
    path = tmp_path / "ssl.config"
    path.write_text(text)
    with pytest.raises(ServerError, match=r"is not a SSLConfig: line 1, column \d+$") as caught:
        start(publish(1), f"--ssl_config_file={path}")
    assert "secret" not in str(caught.value)
