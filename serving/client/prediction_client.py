"""Clients of any model server that speaks TensorFlow Serving's gRPC API, without TensorFlow.

`serving.client` builds the recommender's clients on them.
"""

from types import TracebackType
from typing import TypeVar

from serving.client.prediction_calls import PredictionCalls
from serving.client.transport import AsyncTransport, BlockingTransport, blocking

Client = TypeVar("Client", bound="PredictionClient")
AsyncClient = TypeVar("AsyncClient", bound="AsyncPredictionClient")


class PredictionClient(PredictionCalls):
    """Calls one model of one server, over one connection.

    Threads can share it. Every method raises ServingError: with the server's code and message, or with INVALID_ARGUMENT
    if an argument is wrong.

    Args:
        address: `host:port`.
        model_name: the model's name at the server.
        timeout: seconds until a call fails with DEADLINE_EXCEEDED, including the request for the model's metadata at
            the first call and the attempts after UNAVAILABLE.
        version: of the model; the latest if left out.
        version_label: the label of a version, in place of its number.
        retry: how often, and after what waits, a call is tried again that ends with UNAVAILABLE.
        tls: certificates; without, the connection is not encrypted.
        keep_alive: pings that detect a dead connection.
    """

    _transport_type = BlockingTransport

    predict = blocking(PredictionCalls._predict)
    status = blocking(PredictionCalls._status)
    metadata = blocking(PredictionCalls._metadata)
    wait_until_available = blocking(PredictionCalls._wait_until_available)
    close = blocking(PredictionCalls._close)

    def __enter__(self: Client) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncPredictionClient(PredictionCalls):
    """`PredictionClient` for asyncio: its methods are coroutines. It belongs to the event loop of its first call."""

    _transport_type = AsyncTransport

    predict = PredictionCalls._predict
    status = PredictionCalls._status
    metadata = PredictionCalls._metadata
    wait_until_available = PredictionCalls._wait_until_available
    close = PredictionCalls._close

    async def __aenter__(self: AsyncClient) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
