"""Turns requests into the batches of inputs that a signature takes."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from serving.client.arrays import as_array
from serving.client.metadata import SignatureSpec, TensorSpec
from serving.client.requests import NO_RATING, UserRequest
from serving.wire.errors import invalid_argument

_HISTORY_PREFIX = "history_"
_RATING = "history_rating"
# Inputs made from events: (getter of the attribute, its default, name of the input).
_EVENT_INPUTS = (
    (attrgetter("text"), "", "history_text"),
    (attrgetter("timestamp"), 0, "history_timestamp"),
    (attrgetter("event"), "", "history_event"),
    (attrgetter("rating"), NO_RATING, _RATING),
    (attrgetter("text_embedding"), None, "history_text_embedding"),
)

_MAX_CACHED_VALUES = 64  # largest size of an array of defaults that is cached

Row = dict[str, Any]  # input name -> value for one user or item; inputs that have their default are left out


def user_row(request: UserRequest, model_id: Callable[[str], str]) -> Row:
    """The values of a request, by the names of the model's inputs. `model_id` turns the caller's ids into the model's.

    Attributes that have their default are left out, so that a model without such an input can answer.
    """
    events = request.events
    row: Row = {}
    for name, value, default in (
        ("user_id", model_id(request.user_id), ""),
        ("query_text", request.query, ""),
        ("query_text_embedding", request.query_embedding, None),
        ("timestamp", request.timestamp, 0),
        ("diversity", request.diversity, 0.0),
        ("explain", request.explain, False),
    ):
        if _differs(value, default):
            row[name] = value
    for name, strings in (
        ("history_item_id", [model_id(event.item_id) for event in events]),
        ("exclude_item_id", [model_id(item_id) for item_id in request.exclude]),
        ("allowed_category", list(request.allowed_categories)),
    ):
        if any(strings):
            row[name] = strings
    for attribute, default, name in _EVENT_INPUTS:
        values = list(map(attribute, events))
        if any(_differs(value, default) for value in values if value is not default):  # most are the default object
            row[name] = values
    for name, value in (request.features or {}).items():
        if name in row or name.startswith(_HISTORY_PREFIX):
            raise invalid_argument(f"`features` should not hold `{name}`, which has an argument of its own")
        row[name] = value
    return row


def batch_inputs(rows: Sequence[Row], spec: SignatureSpec) -> dict[str, np.ndarray]:
    """The rows as one batch. Shorter lists are padded on the right. Missing values become "" or 0, missing ratings NaN.

    Raises:
        ServingError: INVALID_ARGUMENT: the signature has no such input, or a value does not fit its input.
    """
    unknown = sorted({name for row in rows for name in row} - spec.inputs.keys())
    if unknown:
        raise invalid_argument(f"the model has no input {', '.join(unknown)}; it has: {', '.join(sorted(spec.inputs))}")
    events = [len(value) for row in rows for name, value in row.items() if name.startswith(_HISTORY_PREFIX)]
    history_width = max(events, default=0)
    return {
        name: _column(name, [row.get(name) for row in rows], tensor, _min_width(name, history_width))
        for name, tensor in spec.inputs.items()
    }


def _min_width(name: str, history_width: int) -> int:
    return history_width if name.startswith(_HISTORY_PREFIX) else 0


def _column(name: str, values: list[Any], spec: TensorSpec, min_width: int) -> np.ndarray:
    """One input for all rows, [B, ...]; None is a missing value. Lists are padded to at least `min_width`."""
    shape = (-1,) if spec.shape is None else spec.shape
    if all(value is None for value in values):
        return _defaults(tuple(_sizes(shape, len(values), min_width)), spec.dtype, name == _RATING)
    default = _default(spec.dtype, name == _RATING)
    if len(shape) < 2:
        return as_array(name, [default if value is None else value for value in values], spec)
    width = _width(name, values, shape[1], min_width)
    cell = np.full([max(0, size) for size in shape[2:]], default, spec.dtype) if len(shape) > 2 else default
    if not width:
        return np.full([len(values), 0, *np.shape(cell)], default, spec.dtype)
    padded = []
    for value in values:
        cells = [] if value is None else [cell if part is None else part for part in value]
        padded.append(cells + [cell] * (width - len(cells)))
    return as_array(name, padded, spec)


def _width(name: str, values: list[Any], size: int, min_width: int) -> int:
    """The length that all lists are padded to. `size` is the input's second dimension, -1 if it may have any size.

    Raises:
        ServingError: INVALID_ARGUMENT: a value is no list, or its length is not the input's fixed size.
    """
    lists = [value for value in values if value is not None]
    for value in lists:
        if isinstance(value, str | bytes) or not hasattr(value, "__len__"):
            raise invalid_argument(f"`{name}` should be a list for each user. Received: {value!r}")
    if size < 0:
        return max(min_width, *map(len, lists))
    for value in lists:
        if len(value) != size:
            raise invalid_argument(f"`{name}` should have {size} values for each user. Received: {len(value)}")
    return size


def _sizes(shape: tuple[int, ...], rows: int, min_width: int) -> Iterable[int]:
    for axis, size in enumerate(shape):
        yield rows if axis == 0 else size if size >= 0 else min_width if axis == 1 else 0


def _default(dtype: np.dtype, is_rating: bool) -> Any:
    """What stands for a missing value: "" or 0, but NaN for ratings, because 0 can be a rating."""
    if dtype.kind == "O":
        return b""
    return dtype.type(NO_RATING if is_rating and dtype.kind == "f" else 0)


def _defaults(shape: tuple[int, ...], dtype: np.dtype, is_rating: bool) -> np.ndarray:
    """An array of defaults. Small ones are cached, because most requests leave most inputs out."""
    make = _cached_defaults if math.prod(shape) <= _MAX_CACHED_VALUES else _new_defaults
    return make(shape, dtype, is_rating)


def _new_defaults(shape: tuple[int, ...], dtype: np.dtype, is_rating: bool) -> np.ndarray:
    array = np.full(shape, _default(dtype, is_rating), dtype)
    array.flags.writeable = False
    return array


_cached_defaults = functools.lru_cache(maxsize=256)(_new_defaults)


def _differs(value: Any, default: Any) -> bool:
    # A vector, whose default is None, is not compared: the result would be an array.
    return value is not default and (default is None or value != default)
