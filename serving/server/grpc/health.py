"""gRPC's health checking protocol (grpc.health.v1), with the service names of tensorflow_model_server.

The port opens after the models are available, so every service is SERVING until the server is asked to stop.
"""

import threading
from collections.abc import Callable

import grpc

from serving.server.grpc.calls import abort, parse_request
from serving.server.request_errors import RequestError, not_found
from serving.wire.protos.health_pb2 import HealthCheckRequest, HealthCheckResponse

_SERVICE = "grpc.health.v1.Health"
SERVICES = ("", "ModelService", "PredictionService")

_Send = Callable[[bytes | None], None]


class HealthService:
    """Answers Check and Watch. `stop` sends NOT_SERVING to the watchers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._serving = True
        self._watchers: dict[object, tuple[str, _Send]] = {}

    def handler(self) -> grpc.GenericRpcHandler:
        """The handler to register with a `grpc.Server`."""

        def watch(data: bytes, context: grpc.ServicerContext, send_response_callback: _Send) -> None:
            self._watch(data, context, send_response_callback)

        # A Watch call lasts until the client ends it, so it should not occupy one of the threads that answer calls.
        watch.experimental_non_blocking = True  # type: ignore[attr-defined]
        methods = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check),
            "Watch": grpc.unary_stream_rpc_method_handler(watch),
        }
        return grpc.method_handlers_generic_handler(_SERVICE, methods)

    def stop(self) -> None:
        """Answers NOT_SERVING from now on, sends it to the watchers and ends their calls."""
        with self._lock:
            self._serving = False
            watchers = list(self._watchers.values())
            self._watchers.clear()
        for service, send in watchers:
            send(self._status(service))
            send(None)

    def _check(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            service = _service(data)
            if service not in SERVICES:
                raise not_found(f"Unknown service: {service}")
        except RequestError as error:
            abort(context, error)
        return self._status(service)

    def _watch(self, data: bytes, context: grpc.ServicerContext, send: _Send) -> None:
        try:
            service = _service(data)
        except RequestError as error:
            abort(context, error)
        watcher = object()
        with self._lock:
            watches = self._serving and context.add_callback(lambda: self._remove(watcher))
            if watches:
                self._watchers[watcher] = (service, send)
            status = self._status(service)
        send(status)
        if not watches:
            send(None)

    def _remove(self, watcher: object) -> None:
        with self._lock:
            self._watchers.pop(watcher, None)

    def _status(self, service: str) -> bytes:
        if service not in SERVICES:
            status = HealthCheckResponse.SERVICE_UNKNOWN
        else:
            status = HealthCheckResponse.SERVING if self._serving else HealthCheckResponse.NOT_SERVING
        return HealthCheckResponse(status=status).SerializeToString()


def _service(data: bytes) -> str:
    return parse_request(HealthCheckRequest, data, f"{_SERVICE.rpartition('.')[0]}.HealthCheckRequest").service
