"""Helpers that all gRPC services share: parse a request, end a call with an error."""

from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from serving.server.request_errors import RequestError, invalid_argument

Request = TypeVar("Request", bound=Message)


def parse_request(message: type[Request], data: bytes, name: str = "") -> Request:
    """The message in `data`. If gRPC parsed it, a broken message would be answered with INTERNAL.

    Args:
        name: the message's name in the error; by default its full name.

    Raises:
        RequestError: INVALID_ARGUMENT.
    """
    try:
        return message.FromString(data)
    except DecodeError:
        raise invalid_argument(f"The request is not a {name or message.DESCRIPTOR.full_name}.") from None


def abort(context: grpc.ServicerContext, error: RequestError) -> NoReturn:
    """Ends the call with the error."""
    context.abort(error.code, error.message)
    raise AssertionError("unreachable: abort raises")


def refusing_handler(error: RequestError, threads: ThreadPoolExecutor | None = None) -> grpc.RpcMethodHandler:
    """A handler that ends every call with the error.

    Args:
        threads: run the handler; None for the server's own threads.
    """

    def refuse(data: bytes, context: grpc.ServicerContext) -> bytes:
        abort(context, error)

    if threads is not None:
        refuse.experimental_thread_pool = threads  # type: ignore[attr-defined]
    return grpc.unary_unary_rpc_method_handler(refuse)
