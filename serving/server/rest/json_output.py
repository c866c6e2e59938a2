"""Writes outputs as the body of a JSON response. Numbers have the same digits as TensorFlow Serving's."""

import base64
import json
import math
from collections.abc import Mapping
from json.encoder import encode_basestring

import numpy as np

from serving.server.request_errors import invalid_argument
from serving.wire.tensors import type_name, type_number

_BYTES_SUFFIX = "_bytes"
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def write_predictions(outputs: Mapping[str, np.ndarray]) -> bytes:
    """`{"predictions": [...]}`, one element a row: its value if there is one output, an object if there are several.

    Raises:
        RequestError: INVALID_ARGUMENT. An output has no batch dimension, another batch size than the others, or a type
            that JSON does not have.
    """
    batch_size: int | None = None
    for alias, array in outputs.items():
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {alias} has no shape information ")
        if batch_size is not None and len(array) != batch_size:
            raise invalid_argument(
                f"Tensor name: {alias} has inconsistent batch size: {len(array)} expecting: {batch_size}"
            )
        batch_size = len(array)
    columns = [_nest(_tokens(alias, array), array.shape, 1) for alias, array in outputs.items()]
    if len(columns) == 1:
        rows = columns[0]
    else:
        keys = [json.dumps(alias, ensure_ascii=False) for alias in outputs]
        rows = [_object(keys, values) for values in zip(*columns, strict=True)]
    return _encoded(f'{{"predictions": [{", ".join(rows)}]}}')


def write_outputs(outputs: Mapping[str, np.ndarray]) -> bytes:
    """`{"outputs": ...}`: the value if there is one output, an object if there are several.

    Raises:
        RequestError: INVALID_ARGUMENT. An output has a type that JSON does not have.
    """
    values = [_nest(_tokens(alias, array), array.shape, 0)[0] for alias, array in outputs.items()]
    if len(values) == 1:
        return _encoded(f'{{"outputs": {values[0]}}}')
    return _encoded(f'{{"outputs": {_object([json.dumps(alias, ensure_ascii=False) for alias in outputs], values)}}}')


def write_error(message: str) -> bytes:
    """`{"error": message}`. Characters that UTF-8 cannot encode are escaped."""
    return json.dumps({"error": message}, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _object(keys: list[str], values: tuple[str, ...] | list[str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in zip(keys, values, strict=True)) + "}"


def _nest(tokens: list[str], shape: tuple[int, ...], flat_dimensions: int) -> list[str]:
    """Joins `tokens`, one for each value of an array of this shape, into JSON lists.

    Returns one text for each element of the first `flat_dimensions` dimensions, which get no brackets.
    """
    for depth in range(len(shape) - 1, flat_dimensions - 1, -1):
        size = shape[depth]
        tokens = [
            "[" + ", ".join(tokens[start * size : (start + 1) * size]) + "]"
            for start in range(math.prod(shape[:depth]))
        ]
    return tokens


def _tokens(alias: str, array: np.ndarray) -> list[str]:
    kind = array.dtype.kind
    flat = array.ravel()
    if kind == "O":
        if alias.endswith(_BYTES_SUFFIX):
            return [f'{{"b64": "{base64.b64encode(value).decode("ascii")}"}}' for value in flat]
        return [encode_basestring(value.decode("utf-8", "surrogateescape")) for value in flat]
    if kind == "b":
        return ["true" if value else "false" for value in flat.tolist()]
    if kind in "iu":
        return [str(value) for value in flat.tolist()]
    if kind == "f" or array.dtype.name == "bfloat16":
        return _decimals(flat)
    raise invalid_argument(f"Failed to write JSON value for tensor type: {type_name(type_number(array.dtype))}")


def _decimals(flat: np.ndarray) -> list[str]:
    """Each number with six significant digits if they parse to the same number, otherwise with 9 (17 for float64).

    A finite number always has a decimal point or an exponent.
    """
    digits = 17
    if flat.dtype != np.float64:
        flat = flat.astype(np.float32)
        digits = 9
    values = flat.astype(np.float64).tolist()
    tokens = [f"{value:g}" for value in values]
    parsed = np.array([float(token) for token in tokens], np.float64).astype(flat.dtype)
    for index in np.flatnonzero(parsed != flat).tolist():
        tokens[index] = f"{values[index]:.{digits}g}"
    return [token if "." in token or "e" in token else _NOT_FINITE.get(token) or f"{token}.0" for token in tokens]


def _encoded(text: str) -> bytes:
    # The bytes of a string that is not UTF-8 are sent unchanged, as in TensorFlow Serving.
    return text.encode("utf-8", "surrogateescape")
