"""The gRPC server: opens the port, and stops without losing calls in flight."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from serving.server.admission.admission import Admission
from serving.server.admission.call_pool import CallPool
from serving.server.grpc.admission_handler import AdmissionHandler
from serving.server.grpc.health import HealthService
from serving.server.grpc.reflection import enable_reflection
from serving.server.grpc.services import PREDICT
from serving.wire.api import MESSAGE_SIZE_OPTIONS, host_port
from serving.wire.errors import ServerError


@dataclass(frozen=True)
class GrpcOptions:
    """Settings of the gRPC server.

    Attributes:
        credentials: for TLS; None for unencrypted connections.
        health: answer grpc.health.v1.Health.
        reflection: describe the services to tools such as grpcurl.
        shared: other processes listen on the same port.
    """

    credentials: grpc.ServerCredentials | None = None
    health: bool = False
    reflection: bool = False
    shared: bool = False


class GrpcServer:
    """Listens from its construction until `begin_stop`.

    Args:
        services: handlers of the model services.
        host, port: where to listen; port 0 takes a free one.
        pool: threads that answer calls.
        admission: decides which predictions are refused.

    Raises:
        ServerError: the port is taken.

    Attributes:
        address: host:port.
    """

    def __init__(
        self,
        services: Sequence[grpc.GenericRpcHandler],
        host: str,
        port: int,
        pool: CallPool,
        admission: Admission,
        options: GrpcOptions,
    ) -> None:
        # The port is shared only on request: otherwise a second server could start on it and take half of the calls.
        self._server = grpc.server(pool, options=[*MESSAGE_SIZE_OPTIONS, ("grpc.so_reuseport", int(options.shared))])
        self._admission_handler = AdmissionHandler(pool, admission, PREDICT)
        self._health = HealthService() if options.health else None
        self._server.add_generic_rpc_handlers([self._admission_handler, *services])
        if self._health is not None:
            self._server.add_generic_rpc_handlers([self._health.handler()])
        if options.reflection:
            enable_reflection(self._server)
        self.address = host_port(host, self._bind(host_port(host, port), options.credentials))
        self._server.start()

    def begin_stop(self, grace: float) -> threading.Event:
        """Refuses new calls, and cancels those in flight after `grace` seconds.

        Returns an event that is set once all calls have ended.
        """
        if self._health is not None:
            self._health.stop()
        if grace > 0:
            self._admission_handler.close()
        return self._server.stop(grace)

    def _bind(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        try:
            if credentials is not None:
                port = self._server.add_secure_port(address, credentials)
            else:
                port = self._server.add_insecure_port(address)
        except RuntimeError:
            port = 0
        if port == 0:
            raise ServerError(f"cannot listen on {address}: is the port taken? `--port 0` takes a free one")
        return port
