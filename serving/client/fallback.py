"""What is recommended when no model answers."""

import os
from collections.abc import Sequence

from serving.client.identifiers import Identifiers
from serving.client.requests import UserRequest, check_strings
from serving.client.results import Recommendation, RecommendationList
from serving.popular_items import read_popular_items
from serving.wire.errors import ServingError, refused

_CODES = ("DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE")  # too late, too many calls, nobody there


class Fallback:
    """Popular items.

    Args:
        items: ids as the model has them, the most popular first; or the path of a file of them.
        excludes_history: leave out what the user already has.
    """

    def __init__(self, items: Sequence[str] | str | os.PathLike[str], excludes_history: bool) -> None:
        if isinstance(items, str | os.PathLike):
            self._item_ids = read_popular_items(items)
        else:
            self._item_ids = list(dict.fromkeys(check_strings("fallback", items)))
            if not self._item_ids:
                raise refused("`fallback` should hold at least one item id")
        self._excludes_history = excludes_history

    def answers(self, failure: ServingError, requests: Sequence[UserRequest]) -> bool:
        """Whether it stands in: a server that refuses a request is right, and of categories nothing is known here."""
        return failure.code in _CODES and not any(request.allowed_categories for request in requests)

    def recommend(
        self, request: UserRequest, k: int | None, failure: ServingError, identifiers: Identifiers
    ) -> RecommendationList:
        excluded = set(request.exclude)
        if self._excludes_history:
            excluded |= {event.item_id for event in request.events}
        excluded = {identifiers.sent(item_id) for item_id in excluded}
        kept = [item_id for item_id in self._item_ids if item_id not in excluded][:k]
        found = (Recommendation(identifiers.returned(item_id), score=0.0) for item_id in kept)
        return RecommendationList(found, failure=failure)
