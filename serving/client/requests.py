"""What a recommender is asked, and the rows of its signatures' inputs that say so."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np

from serving.client.arrays import as_array
from serving.client.metadata import SignatureSpec, TensorSpec
from serving.wire.errors import refused

_HISTORY = "history_"
_RATING = "history_rating"
_NO_RATING = math.nan
# Of an event: attribute, what it is if unknown, and its input.
_EVENT_INPUTS = (
    (attrgetter("text"), "", "history_text"),
    (attrgetter("timestamp"), 0, "history_timestamp"),
    (attrgetter("event"), "", "history_event"),
    (attrgetter("rating"), _NO_RATING, _RATING),
    (attrgetter("text_embedding"), None, "history_text_embedding"),
)

_FEW = 64  # values of an array worth keeping

Row = dict[str, Any]  # input -> what one user says; what is not said is left out


@dataclass(frozen=True)
class HistoryEvent:
    """Something the user did. What is unknown stays at its default.

    Attributes:
        item_id: the item.
        text: what the user wrote about it.
        timestamp: epoch seconds; 0 if unknown.
        event: its kind (`view`, `buy`, ...).
        rating: the user's; NaN if there is none, or 0, where the model has not learnt that to be a rating.
        text_embedding: `encode_text`'s vector in place of the text, for a signature that takes it.
    """

    item_id: str
    text: str = ""
    timestamp: int = 0
    event: str = ""
    rating: float = _NO_RATING
    text_embedding: Sequence[float] | np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class UserRequest:
    """One user, and what is wanted. Everything may be left out: the model then goes by what it is told.

    Attributes:
        user_id: "" for somebody unknown.
        history: oldest first; item ids, or events where more than the item is known.
        query: what the user says or searches now.
        timestamp: epoch seconds of the recommendation; 0 if unknown.
        exclude: item ids that must not come back.
        allowed_categories: only items of one of these; empty allows all.
        diversity: from 0, the best items, to 1, the most different ones.
        explain: ask for `Recommendation.reason_history_position`, which takes the model longer.
        features: the model's other inputs, such as profile and context columns, by name: a value, or a list of them
            where the input takes several.
        query_embedding: `encode_text`'s vector in place of the query, for a signature that takes it.

    Raises:
        ServingError: INVALID_ARGUMENT, with the attribute's name.
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
            raise refused(f"`user_id` should be a string. Received: {self.user_id!r}")
        if not isinstance(self.diversity, int | float) or not 0 <= self.diversity <= 1 or math.isnan(self.diversity):
            raise refused(f"`diversity` should be from 0 to 1. Received: `diversity={self.diversity!r}`")
        set_attribute = object.__setattr__  # frozen, but iterators are read once
        set_attribute(self, "history", tuple(_events(self.history)))
        for name in ("exclude", "allowed_categories"):
            set_attribute(self, name, check_strings(name, getattr(self, name)))

    @property
    def events(self) -> tuple[HistoryEvent, ...]:
        """The history, each item id as an event."""
        return self.history  # type: ignore[return-value]  # __post_init__ made them


def check_strings(name: str, values: Iterable[str]) -> tuple[str, ...]:
    """Raises ServingError, with the argument's name, for a single string and for what holds no strings."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise refused(f"`{name}` should be a list of strings. Received: {values!r}")
    values = tuple(values)
    for value in values:
        if not isinstance(value, str):
            raise refused(f"`{name}` should hold strings. Received: {value!r}")
    return values


def user_row(request: UserRequest, sent: Callable[[str], str]) -> Row:
    """What the request says, by the names of the model's inputs. `sent` turns the caller's ids into the model's.

    What has its default is left out: only for the rest does the model need an input.
    """
    events = request.events
    row: Row = {}
    for name, value, unknown in (
        ("user_id", sent(request.user_id), ""),
        ("query_text", request.query, ""),
        ("query_text_embedding", request.query_embedding, None),
        ("timestamp", request.timestamp, 0),
        ("diversity", request.diversity, 0.0),
        ("explain", request.explain, False),
    ):
        if _is_said(value, unknown):
            row[name] = value
    for name, strings in (
        ("history_item_id", [sent(event.item_id) for event in events]),
        ("exclude_item_id", [sent(item_id) for item_id in request.exclude]),
        ("allowed_category", list(request.allowed_categories)),
    ):
        if any(strings):
            row[name] = strings
    for attribute, unknown, name in _EVENT_INPUTS:
        values = list(map(attribute, events))
        if any(_is_said(value, unknown) for value in values if value is not unknown):  # most are the very default
            row[name] = values
    for name, value in (request.features or {}).items():
        if name in row or name.startswith(_HISTORY):
            raise refused(f"`features` should not hold `{name}`, which has an argument of its own")
        row[name] = value
    return row


def batch_inputs(rows: Sequence[Row], spec: SignatureSpec) -> dict[str, np.ndarray]:
    """The rows as one batch: shorter lists are padded on the right, and what is not said is "" or 0, a rating NaN.

    Raises:
        ServingError: INVALID_ARGUMENT for an input the signature does not have, or a value it cannot have.
    """
    surplus = sorted({name for row in rows for name in row} - spec.inputs.keys())
    if surplus:
        raise refused(f"the model has no input {', '.join(surplus)}; it has: {', '.join(sorted(spec.inputs))}")
    events = max((len(value) for row in rows for name, value in row.items() if name.startswith(_HISTORY)), default=0)
    return {
        name: _column(name, [row.get(name) for row in rows], tensor, events if name.startswith(_HISTORY) else 0)
        for name, tensor in spec.inputs.items()
    }


def _column(name: str, values: list[Any], spec: TensorSpec, least: int) -> np.ndarray:
    """One input of all rows, [B, ...]; None is what a row does not say. Lists are at least `least` long."""
    shape = (-1,) if spec.shape is None else spec.shape
    if all(value is None for value in values):
        return _blanks(tuple(_sizes(shape, len(values), least)), spec.dtype, name == _RATING)
    blank = _blank(spec.dtype, name == _RATING)
    if len(shape) < 2:
        return as_array(name, [blank if value is None else value for value in values], spec)
    for value in values:
        if value is not None and (isinstance(value, str | bytes) or not hasattr(value, "__len__")):
            raise refused(f"`{name}` should be a list for each user. Received: {value!r}")
    width = shape[1] if shape[1] >= 0 else max(least, *(len(value) for value in values if value is not None))
    wrong = [len(value) for value in values if value is not None and len(value) != width]
    if shape[1] >= 0 and wrong:
        raise refused(f"`{name}` should have {width} values for each user. Received: {wrong[0]}")
    cell = np.full([max(0, size) for size in shape[2:]], blank, spec.dtype) if len(shape) > 2 else blank
    if not width:
        return np.full([len(values), 0, *np.shape(cell)], blank, spec.dtype)
    padded = []
    for value in values:
        told = [] if value is None else [cell if part is None else part for part in value]
        padded.append(told + [cell] * (width - len(told)))
    return as_array(name, padded, spec)


def _sizes(shape: tuple[int, ...], rows: int, least: int) -> Iterable[int]:
    for axis, size in enumerate(shape):
        yield rows if axis == 0 else size if size >= 0 else least if axis == 1 else 0


def _blank(dtype: np.dtype, rating: bool) -> Any:
    """What is not said: "" or 0, but for ratings, of which 0 may be one."""
    if dtype.kind == "O":
        return b""
    return dtype.type(_NO_RATING if rating and dtype.kind == "f" else 0)


def _blanks(shape: tuple[int, ...], dtype: np.dtype, rating: bool) -> np.ndarray:
    """Most requests leave most inputs out, in the same few shapes."""
    return (_known_blanks if math.prod(shape) <= _FEW else _new_blanks)(shape, dtype, rating)


def _new_blanks(shape: tuple[int, ...], dtype: np.dtype, rating: bool) -> np.ndarray:
    array = np.full(shape, _blank(dtype, rating), dtype)
    array.flags.writeable = False
    return array


_known_blanks = functools.lru_cache(maxsize=256)(_new_blanks)


def _is_said(value: Any, unknown: Any) -> bool:
    # Vectors, which do not compare to a bool, are said whenever they are there.
    return value is not unknown and (unknown is None or value != unknown)


def _events(history: Iterable[str | HistoryEvent]) -> Iterable[HistoryEvent]:
    if isinstance(history, str) or not isinstance(history, Iterable):
        raise refused(f"`history` should be a list of item ids or HistoryEvent. Received: {history!r}")
    for event in history:
        if isinstance(event, str):
            event = HistoryEvent(event)
        if not isinstance(event, HistoryEvent):
            raise refused(f"`history` should hold item ids or HistoryEvent. Received: {event!r}")
        if not isinstance(event.item_id, str):
            raise refused(f"`history` should hold item ids that are strings. Received: {event.item_id!r}")
        yield event
