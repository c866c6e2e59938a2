"""A client of any model server that speaks TensorFlow Serving's gRPC API, without TensorFlow.

`serving.client` builds the recommender's client on it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import grpc
import numpy as np
from google.protobuf.message import DecodeError, Message

from serving.errors import ServingError
from serving.protos import wire_pb2
from serving.tensors import array_from_tensor, fill_tensor, numpy_dtype, type_name

_LARGEST_MESSAGE = 2**31 - 1  # bytes, as the server accepts
_METADATA_FIELD = "signature_def"
# What a server answers when a request was built for another version's signature.
_SIGNATURE_CODES = ("INVALID_ARGUMENT", "FAILED_PRECONDITION")

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True)
class TensorSpec:
    """An input or output. `dtype` is NumPy's (object for strings); `shape` has -1 where any size is fine."""

    dtype: np.dtype
    shape: tuple[int, ...] | None
    type_name: str


@dataclass(frozen=True)
class SignatureSpec:
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclass(frozen=True)
class ModelMetadata:
    """A version and its signatures by key."""

    version: int
    signatures: Mapping[str, SignatureSpec]


@dataclass(frozen=True)
class VersionStatus:
    """A version's state: START, LOADING, AVAILABLE, UNLOADING or END; `error` is empty unless it failed."""

    version: int
    state: str
    error: str


class PredictionClient:
    """Calls one model of one server.

    Safe to share between threads. Every method raises ServingError: with the server's code and message, or with
    INVALID_ARGUMENT for what the client refuses by itself.

    Args:
        address: `host:port`.
        model_name: the name the server has the model under.
        timeout: seconds until a call fails with DEADLINE_EXCEEDED.
    """

    def __init__(self, address: str, model_name: str = "default", timeout: float = 1.0) -> None:
        if timeout <= 0:
            raise ServingError("INVALID_ARGUMENT", f"`timeout` should be positive. Received: `timeout={timeout}`")
        self.address = address
        self.model_name = model_name
        self.timeout = timeout
        self._metadata: dict[int | None, ModelMetadata] = {}
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
                ("grpc.max_send_message_length", _LARGEST_MESSAGE),
                ("grpc.enable_http_proxy", 0),  # a model server is a neighbour
            ],
        )
        prediction, model = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
        self._call_predict = self._method(prediction + "Predict", wire_pb2.PredictRequest, wire_pb2.PredictResponse)
        self._call_metadata = self._method(
            prediction + "GetModelMetadata", wire_pb2.GetModelMetadataRequest, wire_pb2.GetModelMetadataResponse
        )
        self._call_status = self._method(
            model + "GetModelStatus", wire_pb2.GetModelStatusRequest, wire_pb2.GetModelStatusResponse
        )

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, Any],
        *,
        output_filter: Sequence[str] | None = None,
        version: int | None = None,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs one signature.

        Args:
            signature: its key; "" for `serving_default`.
            inputs: by name, arrays or (nested) lists, batch first. Strings are `str` or `bytes`.
            output_filter: the outputs to return; all if left out.
            version: of the model; the latest if left out.
            timeout: seconds for this call, in place of the client's.

        Returns:
            Outputs by name; strings as object arrays of bytes.
        """

        def build(spec: SignatureSpec) -> dict[str, np.ndarray]:
            return {name: as_array(name, value, spec.inputs.get(name)) for name, value in inputs.items()}

        return self._predict(signature, build, output_filter or (), version, timeout)

    def status(self, version: int | None = None, *, timeout: float | None = None) -> list[VersionStatus]:
        """The states of the model's versions, highest first; or of one version."""
        request = wire_pb2.GetModelStatusRequest(model_spec=self._model_spec(version))
        response = self._call_status(request, timeout)
        return [
            VersionStatus(
                entry.version,
                wire_pb2.ModelVersionStatus.State.Name(entry.state),
                entry.status.error_message,
            )
            for entry in response.model_version_status
        ]

    def metadata(self, version: int | None = None, *, timeout: float | None = None) -> ModelMetadata:
        """The signatures of the latest version, or of one version, asked anew."""
        request = wire_pb2.GetModelMetadataRequest(
            model_spec=self._model_spec(version), metadata_field=[_METADATA_FIELD]
        )
        metadata = _parse_metadata(self._call_metadata(request, timeout))
        self._metadata[version] = metadata
        return metadata

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _predict(
        self,
        signature: str,
        build: Callable[[SignatureSpec], Mapping[str, np.ndarray]],
        output_filter: Iterable[str],
        version: int | None,
        timeout: float | None,
    ) -> dict[str, np.ndarray]:
        """Builds the inputs for the signature as last seen; once more if the model was swapped for another since."""
        known = self._metadata.get(version)
        metadata = known or self.metadata(version, timeout=timeout)
        try:
            return self._predict_once(metadata, signature, build, output_filter, version, timeout)
        except ServingError as error:
            if known is None or error.code not in _SIGNATURE_CODES:
                raise
            metadata = self.metadata(version, timeout=timeout)
            if metadata.version == known.version:
                raise
        return self._predict_once(metadata, signature, build, output_filter, version, timeout)

    def _predict_once(
        self,
        metadata: ModelMetadata,
        signature: str,
        build: Callable[[SignatureSpec], Mapping[str, np.ndarray]],
        output_filter: Iterable[str],
        version: int | None,
        timeout: float | None,
    ) -> dict[str, np.ndarray]:
        key = signature or "serving_default"
        if key not in metadata.signatures:
            raise ServingError(
                "FAILED_PRECONDITION",
                f'model {self.model_name} has no signature "{key}"; it has: {", ".join(sorted(metadata.signatures))}',
            )
        request = wire_pb2.PredictRequest(model_spec=self._model_spec(version), output_filter=output_filter)
        request.model_spec.signature_name = key
        for name, array in build(metadata.signatures[key]).items():
            fill_tensor(request.inputs[name], array)
        response = self._call_predict(request, timeout)
        if response.model_spec.version.value != metadata.version:
            self._metadata.pop(version, None)
        return {name: array_from_tensor(tensor) for name, tensor in response.outputs.items()}

    def _model_spec(self, version: int | None) -> wire_pb2.ModelSpec:
        spec = wire_pb2.ModelSpec(name=self.model_name)
        if version is not None:
            spec.version.value = version
        return spec

    def _method(
        self, path: str, request_type: type[Request], response_type: type[Response]
    ) -> Callable[[Request, float | None], Response]:
        call = self._channel.unary_unary(path, request_type.SerializeToString, response_type.FromString)

        def method(request: Request, timeout: float | None) -> Response:
            try:
                return call(request, timeout=self.timeout if timeout is None else timeout)
            except grpc.RpcError as error:
                raise self._serving_error(error, timeout) from None

        return method

    def _serving_error(self, error: Any, timeout: float | None) -> ServingError:
        code, message = error.code().name, error.details() or ""
        if code == "UNAVAILABLE" and not error.trailing_metadata():
            message = f"no model server answers at {self.address} (`towers serve` starts one): {message}"
        if code == "DEADLINE_EXCEEDED":
            seconds = self.timeout if timeout is None else timeout
            message = f"no answer from {self.address} within {seconds:g} s: {message}"
        return ServingError(code, message)


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
        raise ServingError("INVALID_ARGUMENT", f"input `{name}` should be {wanted}: {error}") from None
    if spec.shape is not None and len(spec.shape) != array.ndim:
        raise ServingError(
            "INVALID_ARGUMENT",
            f"input `{name}` should have {len(spec.shape)} dimensions, batch first. Received: shape {array.shape}",
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


def _parse_metadata(response: wire_pb2.GetModelMetadataResponse) -> ModelMetadata:
    packed = response.metadata[_METADATA_FIELD]
    try:
        signature_map = wire_pb2.SignatureDefMap.FromString(packed.value)
    except DecodeError:
        raise ServingError("DATA_LOSS", "the server's model metadata is not a SignatureDefMap") from None
    signatures = {
        key: SignatureSpec(
            {name: _spec(info) for name, info in sorted(signature.inputs.items())},
            {name: _spec(info) for name, info in sorted(signature.outputs.items())},
        )
        for key, signature in signature_map.signature_def.items()
        if signature.method_name  # the others are the loader's own
    }
    return ModelMetadata(response.model_spec.version.value, signatures)


def _spec(info: wire_pb2.TensorInfo) -> TensorSpec:
    try:
        dtype = numpy_dtype(info.dtype)
    except KeyError:
        raise ServingError("UNIMPLEMENTED", f"the model has a tensor of {type_name(info.dtype)}") from None
    shape = None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim)
    return TensorSpec(dtype, shape, type_name(info.dtype))
