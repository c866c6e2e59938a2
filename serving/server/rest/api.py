"""TensorFlow Serving's REST API: answers predict, status and metadata requests; errors become HTTP status codes."""

import json
import logging
import re
import urllib.parse
from typing import Any, NamedTuple

import grpc
from google.protobuf import json_format
from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving.server.models.core import ServerCore
from serving.server.models.versions import MAX_VERSION
from serving.server.monitoring.metrics import Registry
from serving.server.monitoring.request_metrics import RequestMetrics, model_label
from serving.server.request_errors import RequestError, invalid_argument, not_found, unimplemented
from serving.server.rest.json_output import write_error, write_outputs, write_predictions
from serving.server.rest.json_request import input_arrays, parse_body
from serving.server.runtime.predict import DEFAULT_SIGNATURE, run

logger = logging.getLogger(__name__)

_MODEL = r"/v1/models/([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?"
_API = re.compile(r"/v1/.*", re.IGNORECASE)
_PREDICTION = re.compile(_MODEL + r":(classify|regress|predict)", re.IGNORECASE)
_STATUS = re.compile(_MODEL + r"(?:/(metadata))?", re.IGNORECASE)
_METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH")

_JSON = "application/json"
_HTTP_CODES = {  # all other codes become 500
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}


class Reply(NamedTuple):
    """Status code, content type and body of an HTTP response."""

    code: int
    content_type: str
    body: bytes


def error_reply(code: int, message: str) -> Reply:
    return Reply(code, _JSON, write_error(message))


class RestApi:
    """Answers requests. Safe to call from several threads.

    Args:
        registry: the metrics that Prometheus reads.
        timeout_ms: milliseconds that a prediction may take; None for no limit.
        monitoring_path: URL path of the metrics; None if metrics are off.
    """

    def __init__(
        self,
        core: ServerCore,
        metrics: RequestMetrics,
        registry: Registry,
        timeout_ms: int | None = None,
        monitoring_path: str | None = None,
    ) -> None:
        self._core = core
        self._metrics = metrics
        self._registry = registry
        self._timeout_ms = timeout_ms
        self._monitoring_path = monitoring_path

    def answer(self, method: str, target: str, body: bytes) -> Reply:
        """The reply to one request. Never raises.

        Args:
            target: the request line's target: a path with or without a query, or a URL.
        """
        try:
            path = _path(target)
            if method not in _METHODS:
                raise unimplemented(f"The method {method} is not supported.")
            if path == self._monitoring_path:
                return Reply(200, "text/plain", self._registry.text().encode("utf-8", "backslashreplace"))
            if not _API.fullmatch(path):
                raise not_found(f"There is nothing at {path}. Paths start with /v1/models/")
            return Reply(200, _JSON, self._answer(method, path, body))
        except RequestError as error:
            return error_reply(_HTTP_CODES.get(error.code, 500), error.message)
        except Exception as error:
            logger.exception("%s %s failed", method, target)
            return error_reply(500, f"{type(error).__name__}: {error}")

    def _answer(self, method: str, path: str, body: bytes) -> bytes:
        if method == "POST" and (match := _PREDICTION.fullmatch(path)):
            spec = _spec(*match.group(1, 2, 3))
            if match[4] == "predict":
                with self._metrics.measure(model_label(spec.name, self._core.models), match[4], "REST"):
                    return self._predict(spec, body)
            if match[4] in ("classify", "regress"):
                raise unimplemented(f"{match[4]} is for signatures of tf.Example; this server answers predict.")
        elif method == "GET" and (match := _STATUS.fullmatch(path)):
            spec = _spec(*match.group(1, 2, 3))
            return _json(self._metadata(spec) if match[4] == "metadata" else self._status(spec))
        elif method == "GET" and path.lower() == "/v1/models":
            raise invalid_argument("Missing model name in request.")
        raise invalid_argument(f"Malformed request: {method} {path}")

    def _predict(self, spec: model_pb2.ModelSpec, body: bytes) -> bytes:
        parsed = parse_body(body)
        key = parsed.signature_name or DEFAULT_SIGNATURE
        with self._core.servable(spec) as servable:
            signature = servable.signatures.get(key)
            if signature is None:
                raise invalid_argument(f'Serving signature name: "{key}" not found in signature def')
            arrays = input_arrays(parsed, signature.inputs)
            values = run(servable, signature, arrays, signature.outputs.values(), self._timeout_ms)
        outputs = dict(zip(signature.outputs, values, strict=True))
        return write_predictions(outputs) if parsed.by_row else write_outputs(outputs)

    def _status(self, spec: model_pb2.ModelSpec) -> dict[str, Any]:
        entries = [
            {
                "version": str(version),
                "state": ModelVersionStatus.State.Name(status.state),
                "status": {"error_code": error_codes_pb2.Code.Name(status.code), "error_message": status.message},
            }
            for version, status in self._core.statuses(spec).items()
        ]
        return {"model_version_status": entries}

    def _metadata(self, spec: model_pb2.ModelSpec) -> dict[str, Any]:
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self._core.servable(spec) as servable:
            servable.signature_map.Unpack(signatures)
            model = {"name": servable.name, "signature_name": "", "version": str(servable.version)}
        packed = json_format.MessageToDict(
            signatures,
            including_default_value_fields=True,  # type: ignore[call-arg]  # renamed in protobuf 5, whose types these are
            preserving_proto_field_name=True,
        )
        return {"model_spec": model, "metadata": {"signature_def": packed}}


def _path(target: str) -> str:
    if target.startswith("/"):
        return target.partition("?")[0]
    try:
        return urllib.parse.urlsplit(target).path
    except ValueError as error:
        raise invalid_argument(f"The request's target is no URL: {error}") from None


def _spec(name: str, version: str | None, label: str | None) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=_decoded("model name", name))
    if version is not None:
        # The length is checked first, because converting a number of a million digits takes long.
        if len(version) > len(str(MAX_VERSION)) or int(version) > MAX_VERSION:
            raise invalid_argument(f"Failed to convert version: {version} to numeric.")
        spec.version.value = int(version)
    if label is not None:
        spec.version_label = _decoded("model version label", label)
    return spec


def _decoded(what: str, text: str) -> str:
    try:
        return urllib.parse.unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise invalid_argument(f"Failed to decode {what}:{text}") from None


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace")
