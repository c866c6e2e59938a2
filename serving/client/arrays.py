"""What callers have, as the arrays that a model's inputs are."""

from typing import Any

import numpy as np

from serving.client.metadata import TensorSpec
from serving.wire.errors import refused


def as_array(name: str, value: Any, spec: TensorSpec | None) -> np.ndarray:
    """`value` as an array of the input's dtype. Strings are encoded as UTF-8.

    Raises:
        ServingError: it is not rectangular, not of that type, out of its range, or not of that rank.
    """
    try:
        if spec is None:  # the server will say that there is no such input
            array = np.asarray(value)
            return _encoded(array) if array.dtype.kind in "OUS" else array
        array = _encoded(np.asarray(value, object)) if spec.dtype == object else _numbers(value, spec.dtype)
    except (TypeError, ValueError, OverflowError) as error:
        wanted = f"an array of {spec.type_name}" if spec else "an array of strings or numbers"
        raise refused(f"input `{name}` should be {wanted}: {error}") from None
    if spec.shape is not None and len(spec.shape) != array.ndim:
        raise refused(
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
    flat = array.ravel()
    encoded = np.empty(flat.size, object)
    for position, text in enumerate(flat.tolist()):
        if isinstance(text, str):
            encoded[position] = text.encode("utf-8")
        elif isinstance(text, bytes):
            encoded[position] = text
        else:
            raise TypeError(f"received {text!r} where a string belongs")
    return encoded.reshape(array.shape)
