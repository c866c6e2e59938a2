"""The gRPC services of tensorflow_model_server: `PredictionService` and `ModelService`."""

import logging
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import Message
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_management_pb2, predict_pb2

from serving.server.grpc.calls import abort, parse_request, refusing_handler
from serving.server.models.core import ServerCore
from serving.server.models.model_config import model_configs
from serving.server.monitoring.request_metrics import RequestMetrics, model_label
from serving.server.request_errors import RequestError, deadline_passed, invalid_argument, unimplemented
from serving.server.runtime.predict import predict
from serving.wire.api import METADATA_FIELD, MODEL_SERVICE, PREDICTION_SERVICE

logger = logging.getLogger(__name__)

PREDICT = f"/{PREDICTION_SERVICE}/Predict"
_MAX_SECONDS = 365 * 24 * 3600.0  # a later deadline counts as none: gRPC reports centuries for a call without one

Method = Callable[[ServerCore, Any, grpc.ServicerContext], Message]


def generic_handlers(
    core: ServerCore, metrics: RequestMetrics, one_of_several: bool = False
) -> list[grpc.GenericRpcHandler]:
    """The handlers to register with a `grpc.Server`.

    Args:
        metrics: counts the predictions.
        one_of_several: other processes listen on the same port, and a call reaches only one of them.
    """
    services: dict[str, dict[str, tuple[type[Message], Method]]] = {
        PREDICTION_SERVICE: {
            "Predict": (predict_pb2.PredictRequest, _measured(metrics, "Predict", _predict)),
            "GetModelMetadata": (get_model_metadata_pb2.GetModelMetadataRequest, _get_model_metadata),
        },
        MODEL_SERVICE: {
            "GetModelStatus": (get_model_status_pb2.GetModelStatusRequest, _get_model_status),
            "HandleReloadConfigRequest": (model_management_pb2.ReloadConfigRequest, _reload_config),
        },
    }
    unimplemented_methods: dict[str, dict[str, str]] = {
        PREDICTION_SERVICE: dict.fromkeys(
            ("Classify", "Regress", "MultiInference"),
            "is for signatures of tf.Example; this server answers Predict",
        ),
        MODEL_SERVICE: {},
    }
    if one_of_several:
        del services[MODEL_SERVICE]["HandleReloadConfigRequest"]
        unimplemented_methods[MODEL_SERVICE]["HandleReloadConfigRequest"] = (
            "would reach one of the server's processes only; with --workers, change --model_config_file and have it"
            " polled"
        )
    handlers = []
    for service, methods in services.items():
        by_name = {name: _handler(core, message, method) for name, (message, method) in methods.items()}
        by_name |= {
            name: refusing_handler(unimplemented(f"{name} {reason}."))
            for name, reason in unimplemented_methods[service].items()
        }
        handlers.append(grpc.method_handlers_generic_handler(service, by_name))
    return handlers


def _handler(core: ServerCore, message: type[Message], method: Method) -> grpc.RpcMethodHandler:
    names_model = "model_spec" in message.DESCRIPTOR.fields_by_name

    def handle(data: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            request = parse_request(message, data)
            if names_model and not request.HasField("model_spec"):
                raise invalid_argument("Missing ModelSpec")
            return method(core, request, context).SerializeToString()
        except RequestError as error:
            status = error
        except Exception as error:
            logger.exception("%s failed", message.DESCRIPTOR.name)
            status = RequestError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
        abort(context, status)

    return grpc.unary_unary_rpc_method_handler(handle)


def _measured(metrics: RequestMetrics, api: str, method: Method) -> Method:
    def measured(core: ServerCore, request: Any, context: grpc.ServicerContext) -> Message:
        with metrics.measure(model_label(request.model_spec.name, core.models), api, "GRPC"):
            return method(core, request, context)

    return measured


def _predict(
    core: ServerCore, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
) -> predict_pb2.PredictResponse:
    timeout_ms = _timeout_ms(context)
    with core.servable(request.model_spec) as servable:
        return predict(servable, request, timeout_ms)


def _timeout_ms(context: grpc.ServicerContext) -> int | None:
    remaining = context.time_remaining()
    if remaining is None or remaining > _MAX_SECONDS:
        return None
    if remaining < 0.001:
        raise deadline_passed()
    return int(remaining * 1000)


def _get_model_metadata(
    core: ServerCore, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    if not request.metadata_field:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for name in request.metadata_field:
        if name != METADATA_FIELD:
            raise invalid_argument(f"Metadata field {name} is not supported")
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    with core.servable(request.model_spec) as servable:
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.metadata[METADATA_FIELD].CopyFrom(servable.signature_map)
    return response


def _get_model_status(
    core: ServerCore, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
) -> get_model_status_pb2.GetModelStatusResponse:
    response = get_model_status_pb2.GetModelStatusResponse()
    for version, status in core.statuses(request.model_spec).items():
        entry = response.model_version_status.add(version=version, state=status.state)
        entry.status.error_code = status.code
        entry.status.error_message = status.message
    return response


def _reload_config(
    core: ServerCore, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
) -> model_management_pb2.ReloadConfigResponse:
    if request.config.WhichOneof("config") != "model_config_list":
        raise invalid_argument(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently"
            " supported"
        )
    core.reload(model_configs(request.config))
    response = model_management_pb2.ReloadConfigResponse()
    response.status.SetInParent()  # error_code OK; an error ends the call with its status instead
    return response
