"""Requests to a recommender: a user, the user's events, and which items may be recommended."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving.wire.errors import invalid_argument

NO_RATING = math.nan


@dataclass(frozen=True)
class HistoryEvent:
    """Something the user did. Unknown attributes keep their defaults.

    Attributes:
        item_id: the item.
        text: what the user wrote about it.
        timestamp: epoch seconds; 0 if unknown.
        event: its kind (`view`, `buy`, ...).
        rating: the user's rating; NaN if there is none. 0 also means none, unless the training data has ratings of 0.
        text_embedding: a vector from `encode_text` in place of the text, for a signature that takes vectors.
    """

    item_id: str
    text: str = ""
    timestamp: int = 0
    event: str = ""
    rating: float = NO_RATING
    text_embedding: Sequence[float] | np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class UserRequest:
    """A user, and which items to recommend. Every attribute is optional.

    Attributes:
        user_id: "" for an unknown user.
        history: item ids or events (where more than the item is known), oldest first.
        query: what the user says or searches for now.
        timestamp: time of the recommendation in epoch seconds; 0 if unknown.
        exclude: ids of items that must not be recommended.
        allowed_categories: recommend only items of one of these categories; empty allows all items.
        diversity: from 0 (the best items) to 1 (the most different items).
        explain: ask for `Recommendation.reason_history_position`, which takes the model longer.
        features: the model's other inputs by name, such as profile and context columns: a value, or a list of values
            if the input takes several.
        query_embedding: a vector from `encode_text` in place of the query, for a signature that takes vectors.

    Raises:
        ServingError: INVALID_ARGUMENT; the message names the attribute.
    """

    user_id: str = ""
    history: Iterable[str | HistoryEvent] = ()
    query: str = ""
    timestamp: int = 0
    exclude: Iterable[str] = ()
    allowed_categories: Iterable[str] = ()
    diversity: float = 0.0
    explain: bool = False
    features: Mapping[str, Any] | None = None
    query_embedding: Sequence[float] | np.ndarray | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.user_id, str):
            raise invalid_argument(f"`user_id` should be a string. Received: {self.user_id!r}")
        if not isinstance(self.diversity, int | float) or not 0 <= self.diversity <= 1 or math.isnan(self.diversity):
            raise invalid_argument(f"`diversity` should be from 0 to 1. Received: `diversity={self.diversity!r}`")
        set_attribute = object.__setattr__  # the dataclass is frozen; iterators can be read only once
        set_attribute(self, "history", tuple(_events(self.history)))
        for name in ("exclude", "allowed_categories"):
            set_attribute(self, name, check_strings(name, getattr(self, name)))

    @property
    def events(self) -> tuple[HistoryEvent, ...]:
        """The history, each item id as an event."""
        return self.history  # type: ignore[return-value]  # `__post_init__` turned it into events


def check_strings(name: str, values: Iterable[str]) -> tuple[str, ...]:
    """The values of an argument, as a tuple.

    Raises:
        ServingError: INVALID_ARGUMENT: the argument is a single string, or holds a value that is no string.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise invalid_argument(f"`{name}` should be a list of strings. Received: {values!r}")
    values = tuple(values)
    for value in values:
        if not isinstance(value, str):
            raise invalid_argument(f"`{name}` should hold strings. Received: {value!r}")
    return values


def _events(history: Iterable[str | HistoryEvent]) -> Iterable[HistoryEvent]:
    if isinstance(history, str) or not isinstance(history, Iterable):
        raise invalid_argument(f"`history` should be a list of item ids or HistoryEvent. Received: {history!r}")
    for event in history:
        if isinstance(event, str):
            event = HistoryEvent(event)
        if not isinstance(event, HistoryEvent):
            raise invalid_argument(f"`history` should hold item ids or HistoryEvent. Received: {event!r}")
        if not isinstance(event.item_id, str):
            raise invalid_argument(f"`history` should hold item ids that are strings. Received: {event.item_id!r}")
        yield event
