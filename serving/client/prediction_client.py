"""Clients of any model server that speaks TensorFlow Serving's gRPC API, without TensorFlow.

The recommender's clients (`serving.client.recommender_client`) extend them.
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
        timeout: seconds until a call fails with DEADLINE_EXCEEDED. They include the request for the model's metadata at
            the first call, and further attempts after UNAVAILABLE.
        version: number of the version to call; by default the latest.
        version_label: label of the version to call, in place of its number.
        retry: how often, and after what waits, a call that ended with UNAVAILABLE is tried again.
        tls: certificates; None: the connection is not encrypted.
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
