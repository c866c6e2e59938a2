"""Popular items that are recommended when no model answers."""

import os
from collections.abc import Sequence

from serving.client.identifiers import Identifiers
from serving.client.requests import UserRequest, check_strings
from serving.client.results import Recommendation, RecommendationList
from serving.popular_items import read_popular_items
from serving.wire.errors import ServingError, invalid_argument

_CODES = ("DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE")  # no answer in time, too many calls, no server


class Fallback:
    """Recommends popular items.

    Args:
        items: item ids as the model has them, the most popular first; or the path of a file with such ids.
        excludes_history: leave out the items of the user's history.
    """

    def __init__(self, items: Sequence[str] | str | os.PathLike[str], excludes_history: bool) -> None:
        if isinstance(items, str | os.PathLike):
            self._item_ids = read_popular_items(items)
        else:
            self._item_ids = list(dict.fromkeys(check_strings("fallback", items)))
            if not self._item_ids:
                raise invalid_argument("`fallback` should hold at least one item id")
        self._excludes_history = excludes_history

    def answers(self, failure: ServingError, requests: Sequence[UserRequest]) -> bool:
        """Whether the fallback answers after a failure.

        It answers if no server could answer in time, but not if a server refused the request. It never answers requests
        with allowed categories, because the client does not know the items' categories.
        """
        return failure.code in _CODES and not any(request.allowed_categories for request in requests)

    def recommend(
        self, request: UserRequest, k: int | None, failure: ServingError, identifiers: Identifiers
    ) -> RecommendationList:
        """At most `k` popular items, without those that the request excludes. `failure` is the error of the call."""
        excluded = set(request.exclude)
        if self._excludes_history:
            excluded |= {event.item_id for event in request.events}
        excluded = {identifiers.model_id(item_id) for item_id in excluded}
        item_ids = [item_id for item_id in self._item_ids if item_id not in excluded][:k]
        items = (Recommendation(identifiers.caller_id(item_id), score=0.0) for item_id in item_ids)
        return RecommendationList(items, failure=failure)
