"""Clients of a served recommender."""

from serving.client.prediction_client import AsyncPredictionClient, PredictionClient
from serving.client.recommender_calls import RecommenderCalls
from serving.client.transport import blocking


class RecommenderClient(RecommenderCalls, PredictionClient):
    """Recommends items by calling a served recommender.

    With a `fallback`, `recommend` and `recommend_many` return its items in three cases: the deadline passes, the server
    has too many calls, or no server is available after all attempts. `RecommendationList.is_fallback` is then True, and
    `failure` is the error. Items that a request excludes are left out. A call with allowed categories has no fallback,
    because the client does not know the items' categories.

    If the data was ingested under pseudonyms, give the same key here: user and item ids are then replaced by pseudonyms
    before they are sent. Returned item ids are pseudonyms too, and pseudonyms cannot be reversed. Only items in
    `known_item_ids` are returned under the caller's ids.

    Args:
        address: `host:port`.
        model_name: the model's name at the server.
        timeout, version, version_label, retry, tls, keep_alive: see `PredictionClient`.
        fallback: item ids as the model has them, the most popular first; or the path of a file with one id a line, such
            as `assets.extra/popular_items.txt` of an exported model.
        fallback_excludes_history: leave items of the request's history out of the fallback.
        pseudonym_key_env: environment variable that holds the key for pseudonyms.
        pseudonym_key_file: file that holds the key. With neither, ids are sent as they are.
        known_item_ids: item ids that answers return in place of their pseudonyms; used only with a key.
    """

    recommend = blocking(RecommenderCalls._recommend)
    recommend_many = blocking(RecommenderCalls._recommend_many)
    rank = blocking(RecommenderCalls._rank)
    similar_items = blocking(RecommenderCalls._similar_items)
    encode_text = blocking(RecommenderCalls._encode_text)
    encode_user = blocking(RecommenderCalls._encode_user)
    encode_item = blocking(RecommenderCalls._encode_item)


class AsyncRecommenderClient(RecommenderCalls, AsyncPredictionClient):
    """`RecommenderClient` for asyncio: its methods are coroutines. It belongs to the event loop of its first call."""

    recommend = RecommenderCalls._recommend
    recommend_many = RecommenderCalls._recommend_many
    rank = RecommenderCalls._rank
    similar_items = RecommenderCalls._similar_items
    encode_text = RecommenderCalls._encode_text
    encode_user = RecommenderCalls._encode_user
    encode_item = RecommenderCalls._encode_item
