"""Converts NumPy arrays to and from `TensorProto`, without TensorFlow.

Works with TensorFlow's own message class and with `wire_pb2`'s: both have the same fields. Reading accepts what
TensorFlow's C++ runtime accepts (`Tensor::FromProto`). Writing uses the typed fields (`float_val`, `string_val`, ...),
as TensorFlow Serving does, or on request `tensor_content`.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

STRING = 7
_BFLOAT16 = 14

# Limits the memory that a message of a few bytes can allocate: its last value is repeated until the shape is filled.
_MAX_FILLED_BYTES = 64 * 2**20
_MAX_RANK = 32  # of a NumPy array


class _Kind(NamedTuple):
    name: str  # as TensorFlow's C++ runtime prints it
    dtype: np.dtype
    field: str
    field_dtype: np.dtype  # of the field's elements


def _kind(name: str, dtype: Any, field: str, field_dtype: Any = None) -> _Kind:
    return _Kind(name, np.dtype(dtype), field, np.dtype(dtype if field_dtype is None else field_dtype))


_KINDS: dict[int, _Kind] = {
    1: _kind("float", np.float32, "float_val"),
    2: _kind("double", np.float64, "double_val"),
    3: _kind("int32", np.int32, "int_val"),
    4: _kind("uint8", np.uint8, "int_val", np.int32),
    5: _kind("int16", np.int16, "int_val", np.int32),
    6: _kind("int8", np.int8, "int_val", np.int32),
    STRING: _kind("string", np.object_, "string_val"),
    8: _kind("complex64", np.complex64, "scomplex_val", np.float32),
    9: _kind("int64", np.int64, "int64_val"),
    10: _kind("bool", np.bool_, "bool_val"),
    17: _kind("uint16", np.uint16, "int_val", np.int32),
    18: _kind("complex128", np.complex128, "dcomplex_val", np.float64),
    19: _kind("half", np.float16, "half_val", np.int32),
    22: _kind("uint32", np.uint32, "uint32_val"),
    23: _kind("uint64", np.uint64, "uint64_val"),
}
_NUMBERS = {kind.dtype: number for number, kind in _KINDS.items()}


def register_bfloat16(dtype: Any) -> None:
    """Adds bfloat16, which NumPy lacks. `dtype` is `tf.bfloat16.as_numpy_dtype` or `ml_dtypes.bfloat16`."""
    _KINDS[_BFLOAT16] = _kind("bfloat16", dtype, "half_val", np.int32)
    _NUMBERS[np.dtype(dtype)] = _BFLOAT16


def type_name(number: int) -> str:
    """The name of a `DataType` as TensorFlow's runtime prints it: `float`, `string`, `int64`, ..."""
    kind = _KINDS.get(number)
    return kind.name if kind else f"type {number}"


def type_number(dtype: np.dtype) -> int:
    """The `DataType` of an array's dtype; object arrays are strings. Raises KeyError for a dtype that has none."""
    return _NUMBERS[dtype]


def numpy_dtype(number: int) -> np.dtype:
    """The NumPy dtype of a `DataType`; object for strings. Raises KeyError for a type that has none."""
    return _KINDS[number].dtype


def bytes_array(strings: Sequence[bytes]) -> np.ndarray:
    """The strings as an object array [strings]. NumPy's own string arrays would drop trailing zero bytes."""
    array = np.empty(len(strings), object)
    array[:] = strings
    return array


def array_from_tensor(tensor: Any) -> np.ndarray:
    """The array in a `TensorProto`; strings come as an object array of bytes.

    As in TensorFlow's runtime, the last value is repeated if there are too few values for the shape, a tensor without
    values is filled with zeros or empty strings, and surplus values are dropped. An array from `tensor_content` is
    read-only.

    Raises:
        ValueError: the type is unknown, the shape is invalid, the content has the wrong length, or a huge shape has too
            few values.
    """
    kind = _KINDS.get(tensor.dtype)
    if kind is None:
        raise ValueError(f"type {tensor.dtype} is not supported")
    tensor_shape = tensor.tensor_shape
    if tensor_shape.unknown_rank:
        raise ValueError("the shape is unknown")
    # For speed, since a call has a dozen tensors: a list instead of a generator, and below a slice of the field.
    shape = tuple([dim.size for dim in tensor_shape.dim])
    if len(shape) > _MAX_RANK or (shape and min(shape) < 0):
        raise ValueError(f"the shape {shape} is not valid")
    count = math.prod(shape)
    content = tensor.tensor_content if count else b""
    if content:
        if kind.dtype == object:
            raise ValueError("strings belong in string_val")
        if len(content) != count * kind.dtype.itemsize:
            raise ValueError(f"tensor_content has {len(content)} bytes for the shape {shape}")
        return np.frombuffer(content, kind.dtype).reshape(shape)
    values = _field_values(getattr(tensor, kind.field)[:], kind)
    if len(values) < count:
        if (count - len(values)) * kind.dtype.itemsize > _MAX_FILLED_BYTES:
            raise ValueError(f"{len(values)} values for the shape {shape}")
        filled = np.empty(count, kind.dtype)
        filled[: len(values)] = values
        filled[len(values) :] = values[-1] if len(values) else (b"" if kind.dtype == object else 0)
        values = filled
    return values[:count].reshape(shape)


def _field_values(field: list[Any], kind: _Kind) -> np.ndarray:
    """The field's values in `kind.dtype`, [values]."""
    values = np.array(field, kind.field_dtype)
    if kind.field_dtype == kind.dtype:
        return values
    if kind.field == "half_val":  # holds the sixteen bits as an integer
        return values.astype(np.uint16).view(kind.dtype)
    if kind.dtype.kind == "c":  # real and imaginary parts alternate
        return values[: len(values) // 2 * 2].view(kind.dtype)
    return values.astype(kind.dtype)


def fill_tensor(tensor: Any, array: np.ndarray, *, packed: bool = False) -> None:
    """Writes `array` into an empty `TensorProto`. Strings are an object array of bytes.

    Args:
        packed: write numbers as `tensor_content` instead of typed values, which is fastest for both sides. Strings are
            always typed values.

    Raises:
        KeyError: `TensorProto` has no such dtype.
    """
    number = _NUMBERS[array.dtype]
    kind = _KINDS[number]
    tensor.dtype = number
    shape = tensor.tensor_shape
    shape.SetInParent()  # a scalar has a shape without dimensions, which is not the same as no shape
    for size in array.shape:
        shape.dim.add().size = size
    if packed and kind.dtype != object:
        tensor.tensor_content = array.tobytes()
        return
    flat = array.ravel()
    if kind.field == "half_val":
        flat = flat.view(np.uint16)
    elif kind.dtype.kind == "c":
        flat = flat.view(kind.field_dtype)
    getattr(tensor, kind.field).extend(flat.tolist())
