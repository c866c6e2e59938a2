"""gRPC's health checking protocol (grpc.health.v1), under the service names that tensorflow_model_server has.

The server answers once its models are available, so every service is SERVING until the server is asked to stop.
"""

import threading
from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError

from serving.server.request_errors import RequestError, invalid_argument, not_found
from serving.wire.protos.health_pb2 import HealthCheckRequest, HealthCheckResponse

_SERVICE = "grpc.health.v1.Health"
SERVICES = ("", "ModelService", "PredictionService")

_Send = Callable[[bytes | None], None]


class HealthService:
    """The service's handler, and its end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._serving = True
        self._watchers: dict[object, tuple[str, _Send]] = {}

    def handler(self) -> grpc.GenericRpcHandler:
        """To register with a `grpc.Server`."""

        def watch(data: bytes, context: grpc.ServicerContext, send_response_callback: _Send) -> None:
            self._watch(data, context, send_response_callback)

        # A watcher stays for as long as it likes: it should not hold one of the threads that answer calls.
        watch.experimental_non_blocking = True  # type: ignore[attr-defined]
        methods = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check),
            "Watch": grpc.unary_stream_rpc_method_handler(watch),
        }
        return grpc.method_handlers_generic_handler(_SERVICE, methods)

    def stop(self) -> None:
        """Says NOT_SERVING, and ends what watchers wait for."""
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
            context.abort(error.code, error.message)
        return self._status(service)

    def _watch(self, data: bytes, context: grpc.ServicerContext, send: _Send) -> None:
        try:
            service = _service(data)
        except RequestError as error:
            context.abort(error.code, error.message)
        watcher = object()
        with self._lock:
            stays = self._serving and context.add_callback(lambda: self._forget(watcher))
            if stays:
                self._watchers[watcher] = (service, send)
            status = self._status(service)
        send(status)
        if not stays:
            send(None)

    def _forget(self, watcher: object) -> None:
        with self._lock:
            self._watchers.pop(watcher, None)

    def _status(self, service: str) -> bytes:
        if service not in SERVICES:
            status = HealthCheckResponse.SERVICE_UNKNOWN
        else:
            status = HealthCheckResponse.SERVING if self._serving else HealthCheckResponse.NOT_SERVING
        return HealthCheckResponse(status=status).SerializeToString()


def _service(data: bytes) -> str:
    try:
        return HealthCheckRequest.FromString(data).service
    except DecodeError:
        raise invalid_argument("The request is not a grpc.health.v1.HealthCheckRequest.") from None
