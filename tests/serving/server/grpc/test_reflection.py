"""What tools such as grpcurl see of the server."""

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

pytestmark = pytest.mark.slow

OURS = {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"}
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"


@pytest.fixture
def ask(publish, start):
    channels, servers = [], []

    def run(*flags):
        servers.append(start(publish(1), *flags))
        channels.append(grpc.insecure_channel(servers[-1].address))
        call = channels[-1].stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            ServerReflectionRequest.SerializeToString,
            ServerReflectionResponse.FromString,
        )
        return lambda **request: next(call(iter([ServerReflectionRequest(**request)]), timeout=10))

    yield run
    for channel, server in zip(channels, servers, strict=True):
        channel.close()
        server.stop(0)


def names(response):
    return {service.name for service in response.list_services_response.service}


def test_services_are_listed(ask):
    assert names(ask("--enable_grpc_reflection")(list_services="")) == OURS | {REFLECTION}


@pytest.mark.parametrize(
    ("symbol", "method"),
    [
        ("tensorflow.serving.PredictionService", "Predict"),
        ("tensorflow.serving.ModelService", "GetModelStatus"),
    ],
)
def test_services_are_described(ask, symbol, method):
    """All files that it takes to write a request: a tool asks for the imports one by one."""
    asked = ask("--enable_grpc_reflection")
    response = asked(file_containing_symbol=symbol)
    files = [FileDescriptorProto.FromString(file) for file in response.file_descriptor_response.file_descriptor_proto]
    services = {f"{file.package}.{service.name}": service for file in files for service in file.service}
    assert method in {method.name for method in services[symbol].method}
    seen = {file.name for file in files}
    wanted = {name for file in files for name in file.dependency} - seen
    while wanted:
        name = wanted.pop()
        response = asked(file_by_filename=name)
        assert not response.HasField("error_response"), name
        files = [FileDescriptorProto.FromString(f) for f in response.file_descriptor_response.file_descriptor_proto]
        seen |= {name} | {file.name for file in files}
        wanted |= {name for file in files for name in file.dependency} - seen


def test_what_is_not_there_is_not_found(ask):
    response = ask("--enable_grpc_reflection")(file_containing_symbol="other.Service")
    assert response.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_it_is_off_unless_asked_for(ask):
    with pytest.raises(grpc.RpcError) as caught:
        ask()(list_services="")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
