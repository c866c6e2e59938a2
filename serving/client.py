"""The recommender's clients: typed Python in and out, over gRPC, without TensorFlow.

with RecommenderClient("127.0.0.1:8500") as client:
    for item in client.recommend(user_id="u1", history=["b12", "b7"], query="a quiet novel"):
        print(item.item_id, item.score)

async with AsyncRecommenderClient("127.0.0.1:8500") as client:
    found = await client.recommend(user_id="u1")
"""

from serving.calls.connection import KeepAlive, Tls
from serving.calls.metadata import ModelMetadata
from serving.calls.prediction import VersionStatus
from serving.calls.recommendation import HistoryEvent, Recommendation, RecommenderCalls
from serving.calls.retry import Retry
from serving.calls.transport import blocking
from serving.errors import ServingError
from serving.prediction_client import AsyncPredictionClient, PredictionClient

__all__ = [
    "AsyncPredictionClient",
    "AsyncRecommenderClient",
    "HistoryEvent",
    "KeepAlive",
    "ModelMetadata",
    "PredictionClient",
    "Recommendation",
    "RecommenderClient",
    "Retry",
    "ServingError",
    "Tls",
    "VersionStatus",
]


class RecommenderClient(RecommenderCalls, PredictionClient):
    """Asks a served recommender.

    Where the data was ingested under pseudonyms, name the same key here: user and item ids are then replaced on their
    way to the server. Returned item ids are pseudonyms too, and cannot be turned back; those among `known_item_ids`
    are returned as they were given.

    Args:
        address: `host:port`.
        model_name: the name the server has the model under.
        timeout, version, version_label, retry, tls, keep_alive: see `PredictionClient`.
        pseudonym_key_env: environment variable that holds the key for pseudonyms.
        pseudonym_key_file: file that holds it. Neither: ids are sent as they are.
        known_item_ids: ids to recognise in answers; used with a key only.
    """

    recommend = blocking(RecommenderCalls._recommend)


class AsyncRecommenderClient(RecommenderCalls, AsyncPredictionClient):
    """`RecommenderClient` for asyncio: its methods are coroutines. It belongs to the event loop of its first call."""

    recommend = RecommenderCalls._recommend
