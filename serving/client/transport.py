"""Two transports: one waits by blocking the calling thread, the other by suspending a coroutine."""

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from serving.client.connection import KeepAlive, Tls, channel_options
from serving.wire.errors import ServingError

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Calls = TypeVar("Calls")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Method(Generic[Request, Response]):
    """A method of a gRPC service."""

    path: str
    request: type[Request]
    response: type[Response]


class Transport(Protocol):
    """A connection to a server. It is opened by the first call."""

    def __init__(self, address: str, tls: Tls | None, keep_alive: KeepAlive) -> None: ...

    async def call(
        self, method: Method[Request, Response], request: Request, timeout: float, wait_for_ready: bool
    ) -> Response:
        """Makes one call; raises grpc.RpcError. `wait_for_ready`: wait for a server instead of failing at once."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    async def close(self) -> None: ...


class BlockingTransport:
    """Coroutines that never suspend, so that `blocking` can run them. Threads can share it."""

    def __init__(self, address: str, tls: Tls | None, keep_alive: KeepAlive) -> None:
        options = channel_options(tls, keep_alive)
        if tls is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            self._channel = grpc.secure_channel(address, tls.credentials(), options)
        self._stubs: dict[str, grpc.UnaryUnaryMultiCallable] = {}

    async def call(
        self, method: Method[Request, Response], request: Request, timeout: float, wait_for_ready: bool
    ) -> Response:
        stub = self._stubs.get(method.path)
        if stub is None:
            stub = self._channel.unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
            self._stubs[method.path] = stub
        return stub(request, timeout=timeout, wait_for_ready=wait_for_ready)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def close(self) -> None:
        self._channel.close()


class AsyncTransport:
    """Coroutines for the event loop of the first call; other loops cannot use it."""

    def __init__(self, address: str, tls: Tls | None, keep_alive: KeepAlive) -> None:
        self._address = address
        self._options = channel_options(tls, keep_alive)
        self._credentials = None if tls is None else tls.credentials()
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stubs: dict[str, grpc.aio.UnaryUnaryMultiCallable] = {}

    async def call(
        self, method: Method[Request, Response], request: Request, timeout: float, wait_for_ready: bool
    ) -> Response:
        channel = self._connected()
        stub = self._stubs.get(method.path)
        if stub is None:
            stub = channel.unary_unary(method.path, method.request.SerializeToString, method.response.FromString)
            self._stubs[method.path] = stub
        return await stub(request, timeout=timeout, wait_for_ready=wait_for_ready)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()

    def _connected(self) -> grpc.aio.Channel:
        loop = asyncio.get_running_loop()
        if self._channel is None:  # not earlier: gRPC binds a channel to the loop that runs when it is made
            self._loop = loop
            if self._credentials is None:
                self._channel = grpc.aio.insecure_channel(self._address, self._options)
            else:
                self._channel = grpc.aio.secure_channel(self._address, self._credentials, self._options)
        elif self._loop is not loop:
            raise ServingError(
                "FAILED_PRECONDITION", "the client belongs to the event loop of its first call; make one for each loop"
            )
        return self._channel


def blocking(
    method: Callable[Concatenate[Calls, Arguments], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[Any, Arguments], Result]:
    """Turns a coroutine method that uses a BlockingTransport into a method that returns the result."""

    @functools.wraps(method)
    def call(self: Any, *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        coroutine = method(self, *arguments, **named)
        try:
            coroutine.send(None)
        except StopIteration as done:
            return done.value
        coroutine.close()
        raise RuntimeError(f"{method.__qualname__} suspended: its transport is not a BlockingTransport")

    return call
