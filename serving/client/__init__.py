"""Clients of a served recommender: typed Python over gRPC, without TensorFlow.

with RecommenderClient("127.0.0.1:8500") as client:
    for item in client.recommend(user_id="u1", history=["b12", "b7"], query="a quiet novel"):
        print(item.item_id, item.score)

async with AsyncRecommenderClient("127.0.0.1:8500") as client:
    lists = await client.recommend_many([UserRequest("u1"), UserRequest("u2", history=["b7"])], k=10)
"""

from serving.client.connection import KeepAlive, Tls
from serving.client.metadata import ModelMetadata
from serving.client.prediction_calls import VersionStatus
from serving.client.prediction_client import AsyncPredictionClient, PredictionClient
from serving.client.recommender_client import AsyncRecommenderClient, RecommenderClient
from serving.client.requests import HistoryEvent, UserRequest
from serving.client.results import Recommendation, RecommendationList
from serving.client.retry import Retry
from serving.wire.errors import ServingError

__all__ = [
    "AsyncPredictionClient",
    "AsyncRecommenderClient",
    "HistoryEvent",
    "KeepAlive",
    "ModelMetadata",
    "PredictionClient",
    "Recommendation",
    "RecommendationList",
    "RecommenderClient",
    "Retry",
    "ServingError",
    "Tls",
    "UserRequest",
    "VersionStatus",
]
