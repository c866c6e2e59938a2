"""Converts one JSON value, a scalar or nested lists, to an array.

Lists may be nested 32 levels deep; all lists of one level should have the same length. The checks, their order and the
messages are TensorFlow Serving's.
"""

import base64
import binascii
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from serving.server.request_errors import RequestError, invalid_argument, unimplemented
from serving.wire.tensors import bytes_array, numpy_dtype, type_name

_MAX_CHARACTERS = 200  # of a JSON value that is quoted in a message
_MAX_RANK = 32  # of a NumPy array
_BASE64_KEY = "b64"


def array_from_json(value: Any, data_type: int) -> np.ndarray:
    """The array of a JSON value.

    Args:
        data_type: a `DataType`.

    Raises:
        RequestError: INVALID_ARGUMENT: the lists are not rectangular, or a scalar is not of that type; UNIMPLEMENTED: a
            type that JSON does not have.
    """
    shape, leaves = _flatten(value)
    try:
        dtype = numpy_dtype(data_type)
        convert = _CONVERTERS[dtype.kind]
    except KeyError:
        raise unimplemented(f"Conversion of JSON Value: {shorten(value)} to type: {type_name(data_type)}") from None
    return convert(leaves, dtype, type_name(data_type)).reshape(shape)


def is_base64(value: Any) -> bool:
    """Whether a JSON value is `{"b64": "..."}`, which stands for a string of arbitrary bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(_BASE64_KEY), str)


def shorten(value: Any) -> str:
    """A JSON value to quote in a message, cut to 200 characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + "..."


# Shape


def _flatten(value: Any) -> tuple[list[int], list[Any]]:
    """(shape, scalars) of nested lists. Goes through the lists level by level."""
    shape: list[int] = []
    items: list[Any] = [value]
    first = value
    while isinstance(first, list):
        _check_level(items, first, len(shape))
        shape.append(len(first))
        if len(shape) > _MAX_RANK:
            raise invalid_argument(f"Encountered list at unexpected level: {_MAX_RANK} expected < {_MAX_RANK}")
        if not first:
            return shape, []
        items = [inner for item in items for inner in item]
        first = first[0]
    if list in set(map(type, items)):
        raise invalid_argument(f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}")
    return shape, items


def _check_level(items: list[Any], first: list, level: int) -> None:
    """Checks that all items of a level are lists of the same length as `first`."""
    for item in items:
        if not isinstance(item, list):
            raise _error_of_level(item, level, first)
        if len(item) != len(first):
            raise invalid_argument(
                f"Encountered list at unexpected size: {len(item)} at level: {level} expected size: {len(first)}"
            )


def _error_of_level(value: Any, level: int, first: list) -> RequestError:
    rank = level
    inner: Any = first
    while isinstance(inner, list):
        rank += 1
        inner = inner[0] if inner else None
    return invalid_argument(
        f"JSON Value: {shorten(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {rank}"
    )


# Converters: each takes the scalars, the dtype, and the name of the type for messages


def _strings(scalars: list, dtype: np.dtype, name: str) -> np.ndarray:
    return bytes_array([_string(scalar, name) for scalar in scalars])


def _string(scalar: Any, name: str) -> bytes:
    if isinstance(scalar, dict):
        return _decode_base64(scalar)
    if not isinstance(scalar, str):
        raise _type_error(scalar, name)
    try:
        return scalar.encode()
    except UnicodeEncodeError:
        raise invalid_argument("JSON Parse error: The surrogate pair in string is invalid.") from None


def _decode_base64(value: dict) -> bytes:
    if not is_base64(value):
        raise invalid_argument(f"JSON Value: {shorten(value)} not formatted correctly for base64 data")
    text = "".join(value[_BASE64_KEY].split()).rstrip("=")
    try:
        return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid_argument("Unable to base64 decode") from None


def _floats(scalars: list, dtype: np.dtype, name: str) -> np.ndarray:
    _require_types(scalars, {int, float}, name)
    limits = np.finfo(np.float32 if dtype.name == "bfloat16" else dtype)
    largest_exact = 2 ** (limits.nmant + 1) - 1
    # Decimals below `infinite_from` round to the largest number of the type, those above to infinity. The largest
    # number itself would be too low a limit: written with nine digits, it is rounded up a little, and it should be
    # accepted.
    infinite_from = float(limits.max) + 2.0 ** (limits.maxexp - limits.nmant - 2)
    for scalar in scalars:
        if type(scalar) is int:
            # As in TensorFlow Serving, an integer of more than 64 bits is read as a decimal, and need not be exact.
            fits_64_bits = -(2**63) <= scalar < 2**64
            lossless = abs(scalar) <= (largest_exact if fits_64_bits else int(limits.max))
        else:
            lossless = abs(scalar) < infinite_from or not math.isfinite(scalar)
        if not lossless:
            raise invalid_argument(f"Cannot convert JSON value: {shorten(scalar)} to {name} without loss of precision.")
    return np.array(scalars, np.float64).astype(dtype)


def _integers(scalars: list, dtype: np.dtype, name: str) -> np.ndarray:
    _require_types(scalars, {int}, name)
    limits = np.iinfo(dtype)
    if scalars and not (limits.min <= min(scalars) and max(scalars) <= limits.max):
        raise _type_error(next(scalar for scalar in scalars if not limits.min <= scalar <= limits.max), name)
    return np.array(scalars, dtype)


def _booleans(scalars: list, dtype: np.dtype, name: str) -> np.ndarray:
    _require_types(scalars, {bool}, name)
    return np.array(scalars, dtype)


_CONVERTERS: dict[str, Callable[[list, np.dtype, str], np.ndarray]] = {
    "O": _strings,
    "f": _floats,
    "V": _floats,  # bfloat16
    "i": _integers,
    "u": _integers,
    "b": _booleans,
}


def _require_types(scalars: list, types: set[type], name: str) -> None:
    if not set(map(type, scalars)) <= types:
        raise _type_error(next(scalar for scalar in scalars if type(scalar) not in types), name)


def _type_error(value: Any, name: str) -> RequestError:
    return invalid_argument(f"JSON Value: {shorten(value)} Type: {_json_type(value)} is not of expected type: {name}")


def _json_type(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    names: dict[type, str] = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names[type(value)]
