"""Reads the body of a Predict request in JSON, with TensorFlow Serving's rules, order of checks and messages.

The row format (`instances`) is a list with an object for each row of the batch. The column format (`inputs`) is an
object with a value for each input:

    {"instances": [{"user_id": "u1", "age": 30}, {"user_id": "u2", "age": 25}]}
    {"inputs": {"user_id": ["u1", "u2"], "age": [30, 25]}}

If a signature has a single input, the objects can be replaced by the plain values of this input.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from serving.server.request_errors import RequestError, invalid_argument
from serving.server.rest.json_tensor import array_from_json, is_base64, shorten
from serving.server.runtime.callable_signatures import Input


class PredictBody(NamedTuple):
    """A parsed JSON body; its values are not converted to arrays yet.

    Attributes:
        signature_name: "" if the request names none.
        by_row: True for the row format (`instances`, answered with `predictions`), False for the column format
            (`inputs`, answered with `outputs`).
        value: the JSON value of `instances` or `inputs`.
    """

    signature_name: str
    by_row: bool
    value: Any


def parse_body(body: bytes) -> PredictBody:
    """Reads the JSON object of a Predict request.

    Raises:
        RequestError: INVALID_ARGUMENT. It is no JSON object, or has not exactly one of `instances` and `inputs`.
    """
    document = _parse_json(body)
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {shorten(document)} Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {shorten(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    if "instances" in document and "inputs" in document:
        raise invalid_argument(
            f"JSON Value: {shorten(document)} Not formatted correctly expecting only one of 'inputs' or 'instances'"
            " keys to exist "
        )
    if "instances" in document:
        instances = document["instances"]
        if not isinstance(instances, list):
            raise invalid_argument(f"JSON Value: {shorten(document)} Excepting 'instances' to be an list/array")
        if not instances:
            raise invalid_argument(f"JSON Value: {shorten(document)} No values in 'instances' array")
        return PredictBody(name, True, instances)
    if "inputs" in document:
        return PredictBody(name, False, document["inputs"])
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def input_arrays(body: PredictBody, inputs: Mapping[str, Input]) -> list[np.ndarray]:
    """Converts the values of a body to the arrays to feed, in the order of `inputs`.

    Raises:
        RequestError: INVALID_ARGUMENT: a value does not fit its input; UNIMPLEMENTED: a type that JSON does not have.
    """
    if not inputs:
        raise invalid_argument(f"Failed to get input map for signature: {body.signature_name or 'DEFAULT'}")
    return _arrays_from_rows(body.value, inputs) if body.by_row else _arrays_from_columns(body.value, inputs)


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


# The column format


def _arrays_from_columns(value: Any, inputs: Mapping[str, Input]) -> list[np.ndarray]:
    if not _is_object(value):
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
            arrays.append(array_from_json(value[alias], declared.dtype))
        except RequestError as error:
            raise RequestError(error.code, f"{error.message} (input {alias})") from None
    return arrays


# The row format


def _arrays_from_rows(instances: list, inputs: Mapping[str, Input]) -> list[np.ndarray]:
    objects = _is_object(instances[0])
    _check_instances(instances, objects, inputs)
    arrays = []
    for alias, declared in inputs.items():
        column = [instance[alias] for instance in instances] if objects else instances
        try:
            arrays.append(array_from_json(column, declared.dtype))
        except RequestError as error:
            key = f" key: {alias}" if objects else ""
            raise _error_of_instance(column, declared.dtype, key, error) from None
    return arrays


def _check_instances(instances: list, objects: bool, inputs: Mapping[str, Input]) -> None:
    """Checks that all instances are objects with a value for each input, or that all are plain values of one input."""
    if len(inputs) > 1 and not objects:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per"
            " tensorinfo_map"
        )
    for number, instance in enumerate(instances):
        if _is_object(instance) != objects:
            raise invalid_argument(
                f"Expecting object but got list at item {number} of input list"
                if objects
                else f"Expecting value/list but got object at item {number} of input list"
            )
        if objects and instance.keys() != inputs.keys():
            raise invalid_argument(_wrong_keys(number, instance, inputs))


def _wrong_keys(number: int, instance: dict, inputs: Iterable[str]) -> str:
    unknown = next((key for key in instance if key not in inputs), None)
    if unknown is not None:
        return (
            f"Failed to process element: {number} key: {unknown} of 'instances' list. Error: INVALID_ARGUMENT: JSON"
            f" object: does not have named input: {unknown}"
        )
    return (
        f"Failed to process element: {number} of 'instances' list. JSON object: {shorten(instance)} keys must be equal"
        f" to: {','.join(sorted(inputs))}"
    )


def _error_of_instance(column: list, dtype: int, key: str, column_error: RequestError) -> RequestError:
    """The error that TensorFlow Serving would report: it names the first bad instance.

    TensorFlow Serving converts one instance after the other. Here whole columns are converted, which is faster, so the
    first bad instance is looked for only after an error.

    Args:
        column: the input's value of each instance.
        key: the part of the message that names the input; "" for plain values.
        column_error: the error from converting the whole column.
    """
    first_shape: list[int] | None = None
    for number, value in enumerate(column):
        error = column_error
        try:
            shape = list(array_from_json(value, dtype).shape)
        except RequestError as value_error:
            error = value_error
        else:
            first_shape = shape if first_shape is None else first_shape
            if shape == first_shape:
                continue
            error = _shape_error(first_shape, shape)
        return RequestError(
            error.code,
            f"Failed to process element: {number}{key} of 'instances' list. Error: {error.code.name}: {error.message}",
        )
    return column_error


def _shape_error(expected: list[int], received: list[int]) -> RequestError:
    if np.prod(expected) != np.prod(received):
        return invalid_argument(f"Expecting tensor size: {np.prod(expected):g} but got: {np.prod(received):g}")
    texts = [str(shape).replace(" ", "") for shape in (expected, received)]
    return invalid_argument(f"Expecting shape {texts[0]} but got: {texts[1]}")


def _is_object(value: Any) -> bool:
    """Whether a value is an object of inputs by name. `{"b64": "..."}` is not: it stands for one string."""
    return isinstance(value, dict) and not is_base64(value)
