"""Clients of a served recommender."""

from serving.client.prediction_client import AsyncPredictionClient, PredictionClient
from serving.client.recommender_calls import RecommenderCalls
from serving.client.transport import blocking


class RecommenderClient(RecommenderCalls, PredictionClient):
    """Asks a served recommender.

    With a `fallback`, `recommend` and `recommend_many` answer with its items when the deadline passes, the server has
    too many calls or, after all attempts, none is available: `RecommendationList.is_fallback` tells, and `failure` says
    why. What a request excludes stays out. A call that allows some categories only has no fallback, because nothing is
    known of the items' categories here.

    Where the data was ingested under pseudonyms, name the same key here: user and item ids are then replaced on their
    way to the server. Returned item ids are pseudonyms too, and cannot be turned back; those among `known_item_ids`
    are returned as they were given.

    Args:
        address: `host:port`.
        model_name: the name the server has the model under.
        timeout, version, version_label, retry, tls, keep_alive: see `PredictionClient`.
        fallback: item ids as the model has them, the most popular first; or the path of a file with one a line, such as
            `assets.extra/popular_items.txt` of an exported model.
        fallback_excludes_history: leave the request's history out of the fallback.
        pseudonym_key_env: environment variable that holds the key for pseudonyms.
        pseudonym_key_file: file that holds it. Neither: ids are sent as they are.
        known_item_ids: ids to recognise in answers; used with a key only.
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
