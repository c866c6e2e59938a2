"""gRPC's health checking protocol, by its wire messages."""

import grpc
import pytest

from serving.wire.protos.health_pb2 import HealthCheckRequest, HealthCheckResponse

pytestmark = pytest.mark.slow

SERVICES = ["", "ModelService", "PredictionService"]


@pytest.fixture
def connect(publish, start):
    channels, servers = [], []

    def run(*flags):
        servers.append(start(publish(1), *flags))
        channels.append(grpc.insecure_channel(servers[-1].address))
        channels[-1].server = servers[-1]
        return channels[-1]

    yield run
    for channel, server in zip(channels, servers, strict=True):
        channel.close()
        server.stop(0)


def check(channel, service, data=None):
    call = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        None if data is not None else HealthCheckRequest.SerializeToString,
        HealthCheckResponse.FromString,
    )
    response = call(HealthCheckRequest(service=service) if data is None else data, timeout=5)
    return HealthCheckResponse.ServingStatus.Name(response.status)


def watch(channel, service):
    call = channel.unary_stream(
        "/grpc.health.v1.Health/Watch", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
    )
    return call(HealthCheckRequest(service=service), timeout=20)


def named(response):
    return HealthCheckResponse.ServingStatus.Name(response.status)


def test_services_are_serving(connect):
    channel = connect("--enable_grpc_healthcheck_service")
    assert [check(channel, service) for service in SERVICES] == ["SERVING"] * 3


@pytest.mark.parametrize("service", ["tensorflow.serving.PredictionService", "other"])
def test_other_services_are_unknown(connect, service):
    channel = connect("--enable_grpc_healthcheck_service=true")
    with pytest.raises(grpc.RpcError) as caught:
        check(channel, service)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    watching = watch(channel, service)
    assert named(next(watching)) == "SERVICE_UNKNOWN"
    watching.cancel()


def test_bytes_that_are_no_request(connect):
    with pytest.raises(grpc.RpcError) as caught:
        check(connect("--enable_grpc_healthcheck_service"), "", b"\xff\xff")
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_it_is_off_by_default(connect):
    with pytest.raises(grpc.RpcError) as caught:
        check(connect(), "")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_watchers_hold_no_thread_and_are_told_of_the_end(connect):
    channel = connect("--enable_grpc_healthcheck_service", "--grpc_max_threads=1")
    watchers = [watch(channel, service) for service in SERVICES]
    assert [named(next(watcher)) for watcher in watchers] == ["SERVING"] * 3
    assert check(channel, "") == "SERVING"  # on the only thread
    watchers[0].cancel()
    channel.server.stop(10)
    for watcher in watchers[1:]:
        assert [named(response) for response in watcher] == ["NOT_SERVING"]
