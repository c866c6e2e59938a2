"""Predict: checks a request against the signature, runs the graph, writes the response.

The checks, their order, codes and messages are those of TensorFlow Serving 2.16.1, with two exceptions. A shape that
the signature does not allow is refused here with INVALID_ARGUMENT; TensorFlow Serving runs the graph, which fails. And
the error for a wrong dtype also names the input.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from tensorflow_serving.apis import predict_pb2

from serving.server.request_errors import failed_precondition, invalid_argument
from serving.server.runtime.callable_signatures import Input, Output, Signature
from serving.server.runtime.servable import Servable
from serving.wire.tensors import array_from_tensor, fill_tensor, numpy_dtype, type_name, type_number

DEFAULT_SIGNATURE = "serving_default"


def predict(
    servable: Servable, request: predict_pb2.PredictRequest, timeout_ms: int | None = None
) -> predict_pb2.PredictResponse:
    """Answers one request.

    Args:
        timeout_ms: milliseconds the graph may take; None for no limit.

    Raises:
        RequestError: the request does not fit the signature, or the graph failed.
    """
    signature = _signature(servable, request.model_spec.signature_name or DEFAULT_SIGNATURE)
    arrays = _arrays(signature, request)
    outputs = _outputs(signature, request.output_filter)
    values = run(servable, signature, arrays, outputs, timeout_ms)

    response = predict_pb2.PredictResponse()
    spec = response.model_spec
    spec.name = request.model_spec.name
    spec.signature_name = signature.key
    spec.version.value = servable.version
    for output, value in zip(outputs, values, strict=True):
        fill_tensor(response.outputs[output.alias], value)
    return response


def run(
    servable: Servable,
    signature: Signature,
    arrays: Sequence[np.ndarray],
    outputs: Iterable[Output],
    timeout_ms: int | None = None,
) -> list[np.ndarray]:
    """Checks the arrays, runs the graph and returns the values of `outputs`.

    Args:
        arrays: in the order of `signature.inputs`.
        outputs: outputs of the signature.
        timeout_ms: milliseconds the graph may take; None for no limit.

    Raises:
        RequestError: an array does not fit the signature, or the graph failed.
    """
    feeds = {}
    for index, (declared, array) in enumerate(zip(signature.inputs.values(), arrays, strict=True)):
        _check(index, declared, array)
        feeds[declared.handle] = array
    outputs = list(outputs)
    if servable.text_reuse is not None:
        values = servable.text_reuse.run(signature, arrays, outputs, timeout_ms)
        if values is not None:
            return values
    return [np.asarray(value) for value in servable.run(feeds, [output.handle for output in outputs], timeout_ms)]


def _signature(servable: Servable, key: str) -> Signature:
    try:
        return servable.signatures[key]
    except KeyError:
        raise failed_precondition(f'Serving signature key "{key}" not found.') from None


def _arrays(signature: Signature, request: predict_pb2.PredictRequest) -> list[np.ndarray]:
    """The arrays to feed, in the order of `signature.inputs`."""
    inputs, sent = signature.inputs, dict(request.inputs.items())  # a dict, because lookups in a protobuf map are slow
    if len(sent) > len(inputs) or (len(sent) < len(inputs) and not signature.defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(inputs)} len({_set(sent)}) != len({_set(inputs)})."
            f" Sent extra: {_set(sent.keys() - inputs.keys())}."
            f" Missing but required: {_set(inputs.keys() - sent.keys())}."
        )
    arrays = []
    for alias, declared in inputs.items():
        if alias in sent:
            try:
                arrays.append(array_from_tensor(sent[alias]))
            except ValueError:
                raise invalid_argument(f"tensor parsing error: {alias}") from None
        elif alias in signature.defaults:
            arrays.append(signature.defaults[alias])
        else:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {declared.tensor_name}) not found in request and no default"
                f" value provided. Inputs expected to be in the request {_set(sent)}, or default input alias set:"
                f" {','.join(sorted(signature.defaults))}"
            )
    used = sent.keys() & inputs.keys()
    if len(used) != len(sent):
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {','.join(sorted(used))}, request input:"
            f" {','.join(sorted(sent))}"
        )
    return arrays


def _outputs(signature: Signature, output_filter: Iterable[str]) -> list[Output]:
    chosen: dict[str, Output] = {}
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set"
                f" {_set(signature.outputs)}."
            )
        if alias in chosen:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        chosen[alias] = signature.outputs[alias]
    return list((chosen or signature.outputs).values())


def _check(index: int, declared: Input, array: np.ndarray) -> None:
    """Checks dtype and shape as the C++ runtime does. Python's session would convert values or raise other errors."""
    if array.dtype != numpy_dtype(declared.dtype):
        received_type = type_name(type_number(array.dtype))
        raise invalid_argument(
            f"Expects arg[{index}] to be {type_name(declared.dtype)} but {received_type} is provided"
            f" (input {declared.alias})"
        )
    shape = declared.shape
    if shape is not None and (
        len(shape) != array.ndim
        or any(size not in (-1, received) for size, received in zip(shape, array.shape, strict=True))
    ):
        raise invalid_argument(
            f"Input {declared.alias} should have the shape {list(shape)} (-1: any size). Received: {list(array.shape)}"
        )


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
