"""Clients of a served recommender."""

from serving.client.prediction_client import AsyncPredictionClient, PredictionClient
from serving.client.recommender_calls import RecommenderCalls
from serving.client.transport import blocking


class RecommenderClient(RecommenderCalls, PredictionClient):
    """Recommends items by calling a served recommender.

    With a `fallback`, `recommend` and `recommend_many` answer with its items if the deadline passes, the server has too
    many calls or, after all attempts, no server is available. `RecommendationList.is_fallback` is then True and
    `failure` the error. Items that a request excludes are left out. A call with allowed categories has no fallback,
    because the client does not know the items' categories.

    If the data was ingested under pseudonyms, name the same key here: user and item ids are then replaced before they
    are sent. Returned item ids are pseudonyms too, which cannot be reversed; only those of `known_item_ids` are
    returned as the caller's ids.

    Args:
        address: `host:port`.
        model_name: the model's name at the server.
        timeout, version, version_label, retry, tls, keep_alive: see `PredictionClient`.
        fallback: item ids as the model has them, the most popular first; or the path of a file with one a line, such as
            `assets.extra/popular_items.txt` of an exported model.
        fallback_excludes_history: leave the request's history out of the fallback.
        pseudonym_key_env: environment variable that holds the key for pseudonyms.
        pseudonym_key_file: file that holds the key. Without both, ids are sent as they are.
        known_item_ids: ids that answers return in place of their pseudonyms; used with a key only.
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
