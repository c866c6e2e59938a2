"""Refuses calls before a thread has them: predictions that are too many, and all while the server stops.

When a `grpc.Server` is stopped, calls that have reached it but were not yet handed to Python end with CANCELLED, which
a client does not try elsewhere. So they are handed over and refused with UNAVAILABLE first; once callers have turned
away, the server is stopped.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import grpc

from serving.server.admission.admission import Admission, CallPool
from serving.server.statuses import RequestError, resource_exhausted, unavailable

_QUIET_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 2.0


class Gate(grpc.GenericRpcHandler):
    """The first of a server's handlers: calls that it does not refuse, it leaves to the others.

    Args:
        pool: the threads of the other handlers.
        admission: how many calls may have or await them.
        limited: the method that is refused where they are too many, `/package.Service/Method`. Others are quick, and
            say how the server is.
    """

    def __init__(self, pool: CallPool, admission: Admission, limited: str) -> None:
        self._pool = pool
        self._admission = admission
        self._limited = limited
        self._closed = False
        self._last_refusal = 0.0
        # Not behind the calls in flight, which may hold every other thread.
        threads = ThreadPoolExecutor(1, thread_name_prefix="refuse")
        self._stopping = _refusal(unavailable("The server is stopping."), threads)
        self._exhausted = _refusal(resource_exhausted(admission.message), threads)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if self._closed:
            self._last_refusal = time.monotonic()
            return self._stopping
        if handler_call_details.method == self._limited and self._admission.refuses(self._pool.calls):
            return self._exhausted
        return None

    def close(self) -> None:
        """Refuses calls from now on. Returns when none came for a moment, or after a longer one."""
        closed = self._last_refusal = time.monotonic()
        self._closed = True
        while time.monotonic() < min(self._last_refusal + _QUIET_SECONDS, closed + _LONGEST_WAIT_SECONDS):
            time.sleep(_QUIET_SECONDS / 10)


def _refusal(status: RequestError, threads: ThreadPoolExecutor) -> grpc.RpcMethodHandler:
    def refuse(data: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(status.code, status.message)
        raise AssertionError("unreachable: abort raises")

    refuse.experimental_thread_pool = threads  # type: ignore[attr-defined]
    return grpc.unary_unary_rpc_method_handler(refuse)
