"""Converts the values that callers pass into arrays for a model's inputs."""

from typing import Any

import numpy as np

from serving.client.metadata import TensorSpec
from serving.wire.errors import invalid_argument
from serving.wire.tensors import bytes_array


def as_array(name: str, value: Any, spec: TensorSpec | None) -> np.ndarray:
    """`value` as an array of the input's dtype. Strings are encoded as UTF-8.

    Raises:
        ServingError: INVALID_ARGUMENT: `value` is not rectangular, not of the input's type or rank, or out of range.
    """
    try:
        if spec is None:  # the model has no such input: the server's answer will say so
            array = np.asarray(value)
            return _encoded(array) if array.dtype.kind in "OUS" else array
        array = _encoded(np.asarray(value, object)) if spec.dtype == object else _numbers(value, spec.dtype)
    except (TypeError, ValueError, OverflowError) as error:
        expected = f"an array of {spec.type_name}" if spec else "an array of strings or numbers"
        raise invalid_argument(f"input `{name}` should be {expected}: {error}") from None
    if spec.shape is not None and len(spec.shape) != array.ndim:
        raise invalid_argument(
            f"input `{name}` should have {len(spec.shape)} dimensions, batch first. Received: shape {array.shape}"
        )
    return array


def _numbers(value: Any, dtype: np.dtype) -> np.ndarray:
    array = np.asarray(value)
    if array.size and not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TypeError(f"received {array.dtype}")
    if array.dtype.kind in "iu" and dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise OverflowError(f"values should be from {limits.min} to {limits.max}")
    return array.astype(dtype, copy=False)


def _encoded(array: np.ndarray) -> np.ndarray:
    return bytes_array([_encoded_string(value) for value in array.ravel().tolist()]).reshape(array.shape)


def _encoded_string(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8")
    if isinstance(value, bytes):
        return value
    raise TypeError(f"received {value!r} where a string belongs")
