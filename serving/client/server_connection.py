"""Calls one server: tries failed calls again, and makes error messages that say what to do."""

import asyncio
from typing import Any

import grpc

from serving.client.retry import Deadline, Retry
from serving.client.transport import Method, Request, Response, Transport
from serving.wire.errors import ServingError


class ServerConnection:
    """The connection of a client to its server.

    Args:
        address: `host:port`, for error messages.
        transport: makes the calls.
    """

    def __init__(self, address: str, transport: Transport) -> None:
        self._address, self._transport = address, transport
        self._closed = False

    async def call(
        self,
        method: Method[Request, Response],
        request: Request,
        deadline: Deadline,
        retry: Retry,
        wait_for_ready: bool = False,
    ) -> Response:
        """Calls a method; tries again after UNAVAILABLE.

        Args:
            method: the method to call.
            request: the request.
            deadline: for all attempts together.
            retry: how often, and after what waits.
            wait_for_ready: wait for a server instead of failing if there is none.

        Raises:
            ServingError: with the code of the last attempt; FAILED_PRECONDITION once the client is closed.
        """
        attempt, failure = 0, None
        while True:
            if self._closed:
                raise _client_is_closed()
            attempt += 1
            try:
                return await self._transport.call(method, request, deadline.remaining(), wait_for_ready)
            except grpc.RpcError as error:
                if self._closed:
                    raise _client_is_closed() from None
                failure = self._failure(error, deadline, attempt, failure)
            except (ValueError, grpc.aio.UsageError):  # raised by a channel that is closed during the call
                if self._closed:
                    raise _client_is_closed() from None
                raise
            except asyncio.CancelledError:  # the channel was closed, or the application cancelled
                if self._closed and not _task_is_cancelled():
                    raise _client_is_closed() from None
                raise
            wait = retry.wait(attempt) if failure.code == "UNAVAILABLE" else None
            if wait is None or wait >= deadline.remaining():
                raise failure
            await self._transport.sleep(wait)

    async def sleep(self, seconds: float) -> None:
        """Waits, without blocking other coroutines."""
        await self._transport.sleep(seconds)

    async def close(self) -> None:
        """Closes the connection; calls that are running fail."""
        self._closed = True
        await self._transport.close()

    def _failure(
        self, error: Any, deadline: Deadline, attempts: int, previous_failure: ServingError | None
    ) -> ServingError:
        code, message = error.code().name, error.details() or ""
        if code == "UNAVAILABLE":
            if message.startswith("failed to connect"):  # gRPC's own message; any other comes from a server
                message = f"no model server answers at {self._address} (`towers serve` starts one): {message}"
            if attempts > 1:
                message = f"{message} (tried {attempts} times)"
        if code == "DEADLINE_EXCEEDED":
            message = f"no answer from {self._address} within {deadline.seconds:g} s: {message}"
            if previous_failure is not None:
                message = f"{message}; before that: {previous_failure.message}"
        return ServingError(code, message)


def _client_is_closed() -> ServingError:
    return ServingError("FAILED_PRECONDITION", "the client is closed")


def _task_is_cancelled() -> bool:
    """Whether the application cancelled the running task; False in Python 3.10, whose tasks do not report it."""
    return bool(getattr(asyncio.current_task(), "cancelling", int)())
