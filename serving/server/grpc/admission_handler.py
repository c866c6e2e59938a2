"""The gRPC handler that refuses calls before they occupy a thread."""

import time
from concurrent.futures import ThreadPoolExecutor

import grpc

from serving.server.admission.admission import Admission
from serving.server.admission.call_pool import CallPool
from serving.server.grpc.calls import refusing_handler
from serving.server.request_errors import resource_exhausted, unavailable

# `close` refuses calls until none has come for `_QUIET_SECONDS`, or `_LONGEST_WAIT_SECONDS` are over.
_QUIET_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 2.0


class AdmissionHandler(grpc.GenericRpcHandler):
    """The first handler of a `grpc.Server`. Calls that it does not refuse go on to the other handlers.

    It refuses predictions with RESOURCE_EXHAUSTED while the server is overloaded, and every call with UNAVAILABLE once
    the server stops. `grpc.Server.stop` alone is not enough: it ends calls that have arrived but have not yet reached
    Python with CANCELLED, and clients do not retry a cancelled call at another server. So call `close` first: it
    refuses calls until no more arrive, because clients have turned to another server.

    Args:
        pool: the threads of the other handlers.
        admission: decides whether a prediction is refused.
        limited: `/package.Service/Method` of the calls that are refused in an overload. All other methods are quick,
            and operators need them during an overload.
    """

    def __init__(self, pool: CallPool, admission: Admission, limited: str) -> None:
        self._pool = pool
        self._admission = admission
        self._limited = limited
        self._closed = False
        self._last_refusal = 0.0
        # A thread of its own: calls in flight may occupy every thread of the pool.
        threads = ThreadPoolExecutor(1, thread_name_prefix="refuse")
        self._stopping = refusing_handler(unavailable("The server is stopping."), threads)
        self._exhausted = refusing_handler(resource_exhausted(admission.message), threads)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if self._closed:
            self._last_refusal = time.monotonic()
            return self._stopping
        if handler_call_details.method == self._limited and self._admission.refuses(self._pool.calls):
            return self._exhausted
        return None

    def close(self) -> None:
        """Refuses all calls from now on. Returns once no call has come for 0.1 seconds, or after two seconds."""
        closed = self._last_refusal = time.monotonic()
        self._closed = True
        while time.monotonic() < min(self._last_refusal + _QUIET_SECONDS, closed + _LONGEST_WAIT_SECONDS):
            time.sleep(_QUIET_SECONDS / 10)
