"""The calls to one model of one server, as coroutines."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import grpc
import numpy as np

from serving.client.arrays import as_array
from serving.client.connection import DEFAULT_KEEP_ALIVE, KeepAlive, Tls
from serving.client.metadata import ModelMetadata, SignatureSpec, parse_metadata
from serving.client.retry import DEFAULT_RETRY, Deadline, Retry, check_timeout
from serving.client.transport import Method, Request, Response, Transport
from serving.wire.api import METADATA_FIELD, MODEL_SERVICE, PREDICTION_SERVICE
from serving.wire.errors import ServingError, refused
from serving.wire.protos import wire_pb2
from serving.wire.tensors import array_from_tensor, fill_tensor

_PREDICT = Method(f"/{PREDICTION_SERVICE}/Predict", wire_pb2.PredictRequest, wire_pb2.PredictResponse)
_METADATA = Method(
    f"/{PREDICTION_SERVICE}/GetModelMetadata", wire_pb2.GetModelMetadataRequest, wire_pb2.GetModelMetadataResponse
)
_STATUS = Method(f"/{MODEL_SERVICE}/GetModelStatus", wire_pb2.GetModelStatusRequest, wire_pb2.GetModelStatusResponse)
# What a server answers when a request was built for another version's signature.
_SIGNATURE_CODES = ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
_POLL_SECONDS = 0.1  # between two looks at a model that is not available yet

Build = Callable[[SignatureSpec], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class VersionStatus:
    """A version's state: START, LOADING, AVAILABLE, UNLOADING or END; `error` is empty unless it failed."""

    version: int
    state: str
    error: str


class Prediction(NamedTuple):
    """Outputs by name, and the model's version that made them."""

    outputs: dict[str, np.ndarray]
    version: int


class _Choice(NamedTuple):
    """Which version of the model is asked; neither: the latest."""

    version: int | None
    label: str | None


class PredictionCalls:
    """What `serving.client.prediction_client` offers, but for the way in which a caller waits."""

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
        self._default_choice = _choice(version, version_label)
        self._metadata_of: dict[_Choice, ModelMetadata] = {}
        self._closed = False
        self._transport = self._transport_type(address, tls, keep_alive)

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
            version: of the model, in place of the client's.
            version_label: likewise.
            timeout: seconds for this call, in place of the client's.

        Returns:
            Outputs by name; strings as object arrays of bytes.
        """

        def build(spec: SignatureSpec) -> dict[str, np.ndarray]:
            return {name: as_array(name, value, spec.inputs.get(name)) for name, value in inputs.items()}

        choice, deadline = self._chosen(version, version_label), self._deadline(timeout)
        return (await self._run(signature, build, output_filter or (), choice, deadline)).outputs

    async def _status(self, version: int | None = None, *, timeout: float | None = None) -> list[VersionStatus]:
        """The states of the model's versions, highest first; or of one version."""
        return await self._statuses(_choice(version, None), self._deadline(timeout), wait_for_ready=False)

    async def _metadata(
        self, version: int | None = None, *, version_label: str | None = None, timeout: float | None = None
    ) -> ModelMetadata:
        """The signatures of the client's version, or of another one, asked anew."""
        return await self._ask_metadata(self._chosen(version, version_label), self._deadline(timeout))

    async def _wait_until_available(self, timeout: float = 60.0) -> int:
        """Waits until there is a server and it has the model.

        Returns:
            The version that answers: the client's, or the highest that is available.

        Raises:
            ServingError: NOT_FOUND for a model that the server does not have; INVALID_ARGUMENT for a label it does not
                have; DEADLINE_EXCEEDED with the versions' states.
        """
        deadline, choice = Deadline(timeout), self._default_choice
        told = ""
        while deadline.left() > 0:
            try:
                statuses = await self._statuses(_Choice(choice.version, None), deadline, wait_for_ready=True)
                available = [status.version for status in statuses if status.state == "AVAILABLE"]
                if available and choice.label is None:
                    return max(available)
                if available:  # GetModelStatus ignores labels: the versions it tells of may not be the label's
                    return (await self._ask_metadata(choice, deadline)).version
                states = (f"{status.version}: {status.state} {status.error}".rstrip() for status in statuses)
                told = f"versions {', '.join(states)}"
            except ServingError as error:  # a server that stops, or the deadline within a call
                if error.code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                    raise
                told = told or error.message
            await self._transport.sleep(min(_POLL_SECONDS, deadline.left()))
        raise ServingError(
            "DEADLINE_EXCEEDED", f"model {self.model_name} was not available within {timeout:g} s: {told}"
        )

    async def _close(self) -> None:
        """Closes the connection."""
        self._closed = True
        await self._transport.close()

    async def _run(
        self, signature: str, build: Build, output_filter: Iterable[str], choice: _Choice, deadline: Deadline
    ) -> Prediction:
        """Builds the inputs for the signature as last seen; once more if the model was swapped for another since."""
        known = self._metadata_of.get(choice)
        metadata = known or await self._ask_metadata(choice, deadline)
        try:
            return await self._run_once(metadata, signature, build, output_filter, choice, deadline)
        except ServingError as error:
            if known is None or error.code not in _SIGNATURE_CODES:
                raise
            metadata = await self._ask_metadata(choice, deadline)
            if metadata.version == known.version:
                raise
        return await self._run_once(metadata, signature, build, output_filter, choice, deadline)

    async def _run_once(
        self,
        metadata: ModelMetadata,
        signature: str,
        build: Build,
        output_filter: Iterable[str],
        choice: _Choice,
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
            self._metadata_of.pop(choice, None)
        return Prediction({name: _output(name, tensor) for name, tensor in response.outputs.items()}, version)

    async def _ask_metadata(self, choice: _Choice, deadline: Deadline) -> ModelMetadata:
        request = wire_pb2.GetModelMetadataRequest(model_spec=self._model_spec(choice), metadata_field=[METADATA_FIELD])
        metadata = parse_metadata(await self._call(_METADATA, request, deadline))
        self._metadata_of[choice] = metadata
        return metadata

    async def _statuses(self, choice: _Choice, deadline: Deadline, wait_for_ready: bool) -> list[VersionStatus]:
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
        attempt, failure = 0, None
        while True:
            if self._closed:
                raise _closed_meanwhile()
            attempt += 1
            try:
                return await self._transport.call(method, request, deadline.left(), wait_for_ready)
            except grpc.RpcError as error:
                if self._closed:
                    raise _closed_meanwhile() from None
                failure = self._failure(error, deadline, attempt, failure)
            except (ValueError, grpc.aio.UsageError):  # of a channel that was closed meanwhile
                if self._closed:
                    raise _closed_meanwhile() from None
                raise
            except asyncio.CancelledError:  # by the channel that was closed, or by the application
                if self._closed and not _asked_to_end():
                    raise _closed_meanwhile() from None
                raise
            wait = self.retry.wait(attempt) if failure.code == "UNAVAILABLE" else None
            if wait is None or wait >= deadline.left():
                raise failure
            await self._transport.sleep(wait)

    def _failure(self, error: Any, deadline: Deadline, attempts: int, before: ServingError | None) -> ServingError:
        code, message = error.code().name, error.details() or ""
        if code == "UNAVAILABLE":
            if message.startswith("failed to connect"):  # gRPC's own; any other message came from a server
                message = f"no model server answers at {self.address} (`towers serve` starts one): {message}"
            if attempts > 1:
                message = f"{message} (tried {attempts} times)"
        if code == "DEADLINE_EXCEEDED":
            message = f"no answer from {self.address} within {deadline.seconds:g} s: {message}"
            if before is not None:
                message = f"{message}; before that: {before.message}"
        return ServingError(code, message)

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self.timeout if timeout is None else timeout)

    def _chosen(self, version: int | None, label: str | None) -> _Choice:
        return self._default_choice if version is None and label is None else _choice(version, label)

    def _model_spec(self, choice: _Choice) -> wire_pb2.ModelSpec:
        spec = wire_pb2.ModelSpec(name=self.model_name)
        if choice.version is not None:
            spec.version.value = choice.version
        elif choice.label is not None:
            spec.version_label = choice.label
        return spec


def _choice(version: int | None, label: str | None) -> _Choice:
    if version is not None and label is not None:
        raise refused(f"one of `version` and `version_label` should be given. Received: {version!r} and {label!r}")
    if version is not None and (not isinstance(version, int) or not 0 <= version < 2**63):
        raise refused(f"`version` should be a version's number. Received: `version={version!r}`")
    if label is not None and (not isinstance(label, str) or not label):
        raise refused(f"`version_label` should be a label. Received: `version_label={label!r}`")
    return _Choice(version, label)


def _output(name: str, tensor: wire_pb2.TensorProto) -> np.ndarray:
    try:
        return array_from_tensor(tensor)
    except ValueError as error:
        raise ServingError("DATA_LOSS", f"output `{name}` cannot be read: {error}") from None


def _closed_meanwhile() -> ServingError:
    return ServingError("FAILED_PRECONDITION", "the client is closed")


def _asked_to_end() -> bool:
    """Whether the application cancelled the running task. Python 3.10 does not know."""
    return bool(getattr(asyncio.current_task(), "cancelling", int)())
