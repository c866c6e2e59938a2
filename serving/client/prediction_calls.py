"""Coroutines that call one model of one server."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from serving.client.arrays import as_array
from serving.client.connection import DEFAULT_KEEP_ALIVE, KeepAlive, Tls
from serving.client.metadata import ModelMetadata, SignatureSpec, parse_metadata
from serving.client.retry import DEFAULT_RETRY, Deadline, Retry, check_timeout
from serving.client.server_connection import ServerConnection
from serving.client.transport import Method, Request, Response, Transport
from serving.wire.api import METADATA_FIELD, MODEL_SERVICE, PREDICTION_SERVICE
from serving.wire.errors import ServingError, invalid_argument
from serving.wire.protos import wire_pb2
from serving.wire.tensors import array_from_tensor, fill_tensor

_PREDICT = Method(f"/{PREDICTION_SERVICE}/Predict", wire_pb2.PredictRequest, wire_pb2.PredictResponse)
_METADATA = Method(
    f"/{PREDICTION_SERVICE}/GetModelMetadata", wire_pb2.GetModelMetadataRequest, wire_pb2.GetModelMetadataResponse
)
_STATUS = Method(f"/{MODEL_SERVICE}/GetModelStatus", wire_pb2.GetModelStatusRequest, wire_pb2.GetModelStatusResponse)
# Codes with which a server refuses inputs that were made for another version's signature.
_SIGNATURE_CODES = ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
_POLL_SECONDS = 0.1  # between two status calls while a model is not available

Build = Callable[[SignatureSpec], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class VersionStatus:
    """A version's state: START, LOADING, AVAILABLE, UNLOADING or END; `error` is empty unless it failed."""

    version: int
    state: str
    error: str


class Prediction(NamedTuple):
    """Outputs by name, and the version of the model that computed them."""

    outputs: dict[str, np.ndarray]
    version: int


class _VersionChoice(NamedTuple):
    """A version of the model, by number or label; the latest if both are None."""

    version: int | None
    label: str | None


class PredictionCalls:
    """The methods of both clients in `serving.client.prediction_client`; the clients differ only in how they wait."""

    _transport_type: ClassVar[type[Transport]]

    def __init__(
        self,
        address: str,
        model_name: str = "default",
        timeout: float = 1.0,
        *,
        version: int | None = None,
        version_label: str | None = None,
        retry: Retry = DEFAULT_RETRY,
        tls: Tls | None = None,
        keep_alive: KeepAlive = DEFAULT_KEEP_ALIVE,
    ) -> None:
        self.address = address
        self.model_name = model_name
        self.timeout = check_timeout(timeout)
        self.retry = retry
        self._default_choice = _version_choice(version, version_label)
        self._cached_metadata: dict[_VersionChoice, ModelMetadata] = {}
        self._connection = ServerConnection(address, self._transport_type(address, tls, keep_alive))

    async def _predict(
        self,
        signature: str,
        inputs: Mapping[str, Any],
        *,
        output_filter: Sequence[str] | None = None,
        version: int | None = None,
        version_label: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs one signature.

        Args:
            signature: its key; "" for `serving_default`.
            inputs: by name, arrays or (nested) lists, batch first. Strings are `str` or `bytes`.
            output_filter: the outputs to return; all if left out.
            version: number of the version to call, in place of the client's choice.
            version_label: label of the version to call, in place of the client's choice.
            timeout: seconds for this call, in place of the client's.

        Returns:
            Outputs by name; strings as object arrays of bytes.
        """

        def build(spec: SignatureSpec) -> dict[str, np.ndarray]:
            return {name: as_array(name, value, spec.inputs.get(name)) for name, value in inputs.items()}

        choice, deadline = self._choice(version, version_label), self._deadline(timeout)
        return (await self._run(signature, build, output_filter or (), choice, deadline)).outputs

    async def _status(self, version: int | None = None, *, timeout: float | None = None) -> list[VersionStatus]:
        """The states of all versions of the model, highest first; or the state of one version."""
        return await self._statuses(_version_choice(version, None), self._deadline(timeout), wait_for_ready=False)

    async def _metadata(
        self, version: int | None = None, *, version_label: str | None = None, timeout: float | None = None
    ) -> ModelMetadata:
        """The signatures of the client's version, or of another version. Asks the server every time."""
        return await self._load_metadata(self._choice(version, version_label), self._deadline(timeout))

    async def _wait_until_available(self, timeout: float = 60.0) -> int:
        """Waits until a server answers and the model is available.

        Returns:
            The number of the version that answers: the client's choice, or the highest that is available.

        Raises:
            ServingError: NOT_FOUND if the server has no such model; INVALID_ARGUMENT if it has no such label;
                DEADLINE_EXCEEDED, whose message has the versions' states.
        """
        deadline, choice = Deadline(timeout), self._default_choice
        problem = ""
        while deadline.remaining() > 0:
            try:
                statuses = await self._statuses(_VersionChoice(choice.version, None), deadline, wait_for_ready=True)
                available = [status.version for status in statuses if status.state == "AVAILABLE"]
                if available and choice.label is None:
                    return max(available)
                if available:  # GetModelStatus ignores labels: only the metadata shows which version has the label
                    return (await self._load_metadata(choice, deadline)).version
                states = (f"{status.version}: {status.state} {status.error}".rstrip() for status in statuses)
                problem = f"versions {', '.join(states)}"
            except ServingError as error:  # no server, a server that is stopping, or the deadline
                if error.code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                    raise
                problem = problem or error.message
            await self._connection.sleep(min(_POLL_SECONDS, deadline.remaining()))
        raise ServingError(
            "DEADLINE_EXCEEDED", f"model {self.model_name} was not available within {timeout:g} s: {problem}"
        )

    async def _close(self) -> None:
        """Closes the connection."""
        await self._connection.close()

    async def _run(
        self, signature: str, build: Build, output_filter: Iterable[str], choice: _VersionChoice, deadline: Deadline
    ) -> Prediction:
        """Runs a signature with inputs built from the cached metadata.

        If the server refuses the inputs because it has loaded another version since, they are built again from the
        metadata of that version.
        """
        cached = self._cached_metadata.get(choice)
        metadata = cached or await self._load_metadata(choice, deadline)
        try:
            return await self._run_once(metadata, signature, build, output_filter, choice, deadline)
        except ServingError as error:
            if cached is None or error.code not in _SIGNATURE_CODES:
                raise
            metadata = await self._load_metadata(choice, deadline)
            if metadata.version == cached.version:
                raise
        return await self._run_once(metadata, signature, build, output_filter, choice, deadline)

    async def _run_once(
        self,
        metadata: ModelMetadata,
        signature: str,
        build: Build,
        output_filter: Iterable[str],
        choice: _VersionChoice,
        deadline: Deadline,
    ) -> Prediction:
        key = signature or "serving_default"
        if key not in metadata.signatures:
            raise ServingError(
                "FAILED_PRECONDITION",
                f'model {self.model_name} has no signature "{key}"; it has: {", ".join(sorted(metadata.signatures))}',
            )
        request = wire_pb2.PredictRequest(model_spec=self._model_spec(choice), output_filter=output_filter)
        request.model_spec.signature_name = key
        for name, array in build(metadata.signatures[key]).items():
            fill_tensor(request.inputs[name], array, packed=True)
        response = await self._call(_PREDICT, request, deadline)
        version = response.model_spec.version.value
        if version != metadata.version:
            self._cached_metadata.pop(choice, None)
        return Prediction({name: _output(name, tensor) for name, tensor in response.outputs.items()}, version)

    async def _load_metadata(self, choice: _VersionChoice, deadline: Deadline) -> ModelMetadata:
        request = wire_pb2.GetModelMetadataRequest(model_spec=self._model_spec(choice), metadata_field=[METADATA_FIELD])
        metadata = parse_metadata(await self._call(_METADATA, request, deadline))
        self._cached_metadata[choice] = metadata
        return metadata

    async def _statuses(self, choice: _VersionChoice, deadline: Deadline, wait_for_ready: bool) -> list[VersionStatus]:
        request = wire_pb2.GetModelStatusRequest(model_spec=self._model_spec(choice))
        response = await self._call(_STATUS, request, deadline, wait_for_ready)
        return [
            VersionStatus(
                entry.version,
                wire_pb2.ModelVersionStatus.State.Name(entry.state),
                entry.status.error_message,
            )
            for entry in response.model_version_status
        ]

    async def _call(
        self, method: Method[Request, Response], request: Request, deadline: Deadline, wait_for_ready: bool = False
    ) -> Response:
        return await self._connection.call(method, request, deadline, self.retry, wait_for_ready)

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self.timeout if timeout is None else timeout)

    def _choice(self, version: int | None, label: str | None) -> _VersionChoice:
        return self._default_choice if version is None and label is None else _version_choice(version, label)

    def _model_spec(self, choice: _VersionChoice) -> wire_pb2.ModelSpec:
        spec = wire_pb2.ModelSpec(name=self.model_name)
        if choice.version is not None:
            spec.version.value = choice.version
        elif choice.label is not None:
            spec.version_label = choice.label
        return spec


def _version_choice(version: int | None, label: str | None) -> _VersionChoice:
    if version is not None and label is not None:
        raise invalid_argument(
            f"only one of `version` and `version_label` should be set. Received: {version!r} and {label!r}"
        )
    if version is not None and (not isinstance(version, int) or not 0 <= version < 2**63):
        raise invalid_argument(f"`version` should be a version's number. Received: `version={version!r}`")
    if label is not None and (not isinstance(label, str) or not label):
        raise invalid_argument(f"`version_label` should be a label. Received: `version_label={label!r}`")
    return _VersionChoice(version, label)


def _output(name: str, tensor: wire_pb2.TensorProto) -> np.ndarray:
    try:
        return array_from_tensor(tensor)
    except ValueError as error:
        raise ServingError("DATA_LOSS", f"output `{name}` cannot be read: {error}") from None
