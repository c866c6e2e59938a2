"""From a JSON request's body to arrays, with TensorFlow Serving's rules, order of checks and messages."""

import base64
import binascii
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from serving.server.runtime.signature import Input
from serving.server.statuses import RequestError, invalid_argument, unimplemented
from serving.wire.tensors import numpy_dtype, type_name

_SHOWN = 200  # characters of a JSON value in a message
_MAX_RANK = 32  # of a NumPy array
_BASE64_KEY = "b64"


class PredictBody(NamedTuple):
    """A body as parsed, before its tensors are."""

    signature_name: str
    by_row: bool  # "instances" and "predictions"; otherwise "inputs" and "outputs"
    value: Any


def parse_body(body: bytes) -> PredictBody:
    """Reads the JSON object of a Predict request.

    Raises:
        RequestError: INVALID_ARGUMENT. It is no JSON object, or has not exactly one of `instances` and `inputs`.
    """
    document = _parse_json(body)
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {_shown(document)} Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {_shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    if "instances" in document and "inputs" in document:
        raise invalid_argument(
            f"JSON Value: {_shown(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' keys"
            " to exist "
        )
    if "instances" in document:
        instances = document["instances"]
        if not isinstance(instances, list):
            raise invalid_argument(f"JSON Value: {_shown(document)} Excepting 'instances' to be an list/array")
        if not instances:
            raise invalid_argument(f"JSON Value: {_shown(document)} No values in 'instances' array")
        return PredictBody(name, True, instances)
    if "inputs" in document:
        return PredictBody(name, False, document["inputs"])
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def arrays_of(body: PredictBody, inputs: Mapping[str, Input]) -> list[np.ndarray]:
    """The arrays to feed, in the order of `inputs`.

    Raises:
        RequestError: INVALID_ARGUMENT: a value does not fit its input; UNIMPLEMENTED: a type that JSON does not have.
    """
    if not inputs:
        raise invalid_argument(f"Failed to get input map for signature: {body.signature_name or 'DEFAULT'}")
    return _rows(body.value, inputs) if body.by_row else _columns(body.value, inputs)


def _parse_json(body: bytes) -> Any:
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        return json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise invalid_argument(f"JSON Parse error: The text is not UTF-8 at offset: {error.start}") from None
    except json.JSONDecodeError as error:
        raise invalid_argument(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except RecursionError:
        raise invalid_argument("JSON Parse error: The document is nested too deeply") from None
    except ValueError as error:  # a number with thousands of digits
        raise invalid_argument(f"JSON Parse error: {error}") from None


# The two formats


def _rows(instances: list, inputs: Mapping[str, Input]) -> list[np.ndarray]:
    named = _is_named(instances[0])
    if len(inputs) > 1 and not named:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per"
            " tensorinfo_map"
        )
    for number, instance in enumerate(instances):
        if _is_named(instance) != named:
            raise invalid_argument(
                f"Expecting object but got list at item {number} of input list"
                if named
                else f"Expecting value/list but got object at item {number} of input list"
            )
        if named and instance.keys() != inputs.keys():
            raise invalid_argument(_wrong_keys(number, instance, inputs))
    arrays = []
    for alias, declared in inputs.items():
        column = [instance[alias] for instance in instances] if named else instances
        try:
            arrays.append(_array(column, declared))
        except RequestError as error:
            raise _in_rows(column, declared, error, f" key: {alias}" if named else "") from None
    return arrays


def _columns(value: Any, inputs: Mapping[str, Input]) -> list[np.ndarray]:
    if not _is_named(value):
        if len(inputs) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per"
                " tensorinfo_map"
            )
        value = dict.fromkeys(inputs, value)
    arrays = []
    for alias, declared in inputs.items():
        if alias not in value:
            raise invalid_argument(f"Missing named input: {alias} in 'inputs' object.")
        try:
            arrays.append(_array(value[alias], declared))
        except RequestError as error:
            raise RequestError(error.code, f"{error.message} (input {alias})") from None
    return arrays


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _wrong_keys(number: int, instance: dict, inputs: Iterable[str]) -> str:
    unknown = next((key for key in instance if key not in inputs), None)
    if unknown is not None:
        return (
            f"Failed to process element: {number} key: {unknown} of 'instances' list. Error: INVALID_ARGUMENT: JSON"
            f" object: does not have named input: {unknown}"
        )
    return (
        f"Failed to process element: {number} of 'instances' list. JSON object: {_shown(instance)} keys must be equal"
        f" to: {','.join(sorted(inputs))}"
    )


def _in_rows(column: list, declared: Input, found: RequestError, key: str) -> RequestError:
    """The error as TensorFlow Serving tells it, which looks at one instance after the other."""
    shape: list[int] | None = None
    for number, value in enumerate(column):
        error = found
        try:
            array = _array(value, declared)
        except RequestError as wrong:
            error = wrong
        else:
            given = list(array.shape)
            shape = given if shape is None else shape
            if given == shape:
                continue
            text = [str(one).replace(" ", "") for one in (shape, given)]
            error = invalid_argument(f"Expecting shape {text[0]} but got: {text[1]}")
            if np.prod(shape) != np.prod(given):
                error = invalid_argument(f"Expecting tensor size: {np.prod(shape):g} but got: {np.prod(given):g}")
        return RequestError(
            error.code,
            f"Failed to process element: {number}{key} of 'instances' list. Error: {error.code.name}: {error.message}",
        )
    return found


# One tensor


def _array(value: Any, declared: Input) -> np.ndarray:
    """The array of a JSON value: a scalar, or lists nested to any depth, all of a level equally long."""
    shape: list[int] = []
    leaves: list[Any] = [value]
    first = value
    while isinstance(first, list):
        size = len(first)
        rank = len(shape)
        for item in leaves:
            if not isinstance(item, list):
                raise _at_wrong_level(item, rank, first)
            if len(item) != size:
                raise invalid_argument(
                    f"Encountered list at unexpected size: {len(item)} at level: {rank} expected size: {size}"
                )
        shape.append(size)
        if len(shape) > _MAX_RANK:
            raise invalid_argument(f"Encountered list at unexpected level: {_MAX_RANK} expected < {_MAX_RANK}")
        if size == 0:
            leaves = []
            break
        leaves = [inner for item in leaves for inner in item]
        first = first[0]
    if list in set(map(type, leaves)):
        raise invalid_argument(f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}")
    try:
        dtype = numpy_dtype(declared.dtype)
        convert = _CONVERTERS[dtype.kind]
    except KeyError:
        raise unimplemented(f"Conversion of JSON Value: {_shown(value)} to type: {type_name(declared.dtype)}") from None
    return convert(leaves, dtype, type_name(declared.dtype)).reshape(shape)


def _at_wrong_level(value: Any, level: int, first: list) -> RequestError:
    rank = level
    inner: Any = first
    while isinstance(inner, list):
        rank += 1
        inner = inner[0] if inner else None
    return invalid_argument(
        f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {rank}"
    )


def _texts(leaves: list, dtype: np.dtype, name: str) -> np.ndarray:
    array = np.empty(len(leaves), object)
    for index, leaf in enumerate(leaves):
        if isinstance(leaf, str):
            try:
                array[index] = leaf.encode()
            except UnicodeEncodeError:
                raise invalid_argument("JSON Parse error: The surrogate pair in string is invalid.") from None
        elif isinstance(leaf, dict):
            array[index] = _decoded(leaf)
        else:
            raise _type_error(leaf, name)
    return array


def _decoded(value: dict) -> bytes:
    if not _is_base64(value):
        raise invalid_argument(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    text = "".join(value[_BASE64_KEY].split()).rstrip("=")
    try:
        return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid_argument("Unable to base64 decode") from None


def _floats(leaves: list, dtype: np.dtype, name: str) -> np.ndarray:
    _require(leaves, {int, float}, name)
    limits = np.finfo(np.float32 if dtype.name == "bfloat16" else dtype)
    largest_whole = 2 ** (limits.nmant + 1) - 1
    # Below it a value rounds to the largest number and not to infinity: so are nine digits of that number read back.
    too_large = float(limits.max) + 2.0 ** (limits.maxexp - limits.nmant - 2)
    for leaf in leaves:
        if type(leaf) is int:
            # A whole number past 64 bits is a decimal one to TensorFlow Serving's parser.
            lossless = abs(leaf) <= largest_whole if -(2**63) <= leaf < 2**64 else abs(leaf) <= int(limits.max)
        else:
            lossless = abs(leaf) < too_large or not math.isfinite(leaf)
        if not lossless:
            raise invalid_argument(f"Cannot convert JSON value: {_shown(leaf)} to {name} without loss of precision.")
    return np.array(leaves, np.float64).astype(dtype)


def _integers(leaves: list, dtype: np.dtype, name: str) -> np.ndarray:
    _require(leaves, {int}, name)
    limits = np.iinfo(dtype)
    if leaves and not (limits.min <= min(leaves) and max(leaves) <= limits.max):
        raise _type_error(next(leaf for leaf in leaves if not limits.min <= leaf <= limits.max), name)
    return np.array(leaves, dtype)


def _booleans(leaves: list, dtype: np.dtype, name: str) -> np.ndarray:
    _require(leaves, {bool}, name)
    return np.array(leaves, dtype)


_CONVERTERS: dict[str, Callable[[list, np.dtype, str], np.ndarray]] = {
    "O": _texts,
    "f": _floats,
    "V": _floats,  # bfloat16
    "i": _integers,
    "u": _integers,
    "b": _booleans,
}


def _require(leaves: list, types: set[type], name: str) -> None:
    if not set(map(type, leaves)) <= types:
        raise _type_error(next(leaf for leaf in leaves if type(leaf) not in types), name)


def _type_error(value: Any, name: str) -> RequestError:
    return invalid_argument(f"JSON Value: {_shown(value)} Type: {_json_type(value)} is not of expected type: {name}")


def _json_type(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    names: dict[type, str] = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names[type(value)]


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(_BASE64_KEY), str)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
