"""A model server that fails on command: real gRPC, no model."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from serving.wire.protos import wire_pb2

_STRING, _FLOAT = wire_pb2.DT_STRING, wire_pb2.DT_FLOAT
ITEMS = ("b1", "b2", "b3")


class ScriptedServer:
    """Recommends ITEMS to everybody; version 1 of a model whose `recommend` reads users and histories.

    Attributes:
        address: host:port.
        calls: names of the methods that were called, in turn.
        peers: addresses of the connections that calls came over.
        specs: the calls' ModelSpecs.
        delay: seconds before an answer to Predict.
        states: of the model's version, one for each GetModelStatus; the last one stays.
    """

    def __init__(self, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> None:
        self.calls: list[str] = []
        self.peers: set[str] = set()
        self.specs: list[wire_pb2.ModelSpec] = []
        self.delay = 0.0
        self.states = ["AVAILABLE"]
        self._failures: list[str] = []
        self._status_failures: list[str] = []
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        methods: dict[str, dict[str, tuple[Any, Any]]] = {
            "PredictionService": {
                "Predict": (wire_pb2.PredictRequest, self._predict),
                "GetModelMetadata": (wire_pb2.GetModelMetadataRequest, self._metadata),
            },
            "ModelService": {"GetModelStatus": (wire_pb2.GetModelStatusRequest, self._status)},
        }
        for service, handlers in methods.items():
            by_name = {name: self._handler(name, *parts) for name, parts in handlers.items()}
            generic = grpc.method_handlers_generic_handler(f"tensorflow.serving.{service}", by_name)
            self._server.add_generic_rpc_handlers([generic])
        wanted = f"127.0.0.1:{port}"
        if credentials is None:
            port = self._server.add_insecure_port(wanted)
        else:
            port = self._server.add_secure_port(wanted, credentials)
        self.address = f"127.0.0.1:{port}"

    def fail(self, *codes: str) -> None:
        """The next calls of Predict end with these."""
        self._failures = list(codes)

    def fail_status(self, *codes: str) -> None:
        """The next calls of GetModelStatus end with these."""
        self._status_failures = list(codes)

    def predicted(self) -> int:
        """How often Predict was called."""
        return self.calls.count("Predict")

    def __enter__(self) -> ScriptedServer:
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stop(0).wait()

    def _handler(self, name: str, message: Any, answer: Any) -> grpc.RpcMethodHandler:
        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            self.calls.append(name)
            self.peers.add(context.peer())
            self.specs.append(request.model_spec)
            return answer(request, context)

        return grpc.unary_unary_rpc_method_handler(
            handle, message.FromString, lambda response: response.SerializeToString()
        )

    def _predict(self, request: wire_pb2.PredictRequest, context: grpc.ServicerContext) -> wire_pb2.PredictResponse:
        time.sleep(self.delay)
        if self._failures:
            context.abort(grpc.StatusCode[self._failures.pop(0)], "on command")
        response = wire_pb2.PredictResponse()
        response.model_spec.version.value = 1
        rows = request.inputs["user_id"].tensor_shape.dim[0].size
        for name, dtype in (("item_id", _STRING), ("score", _FLOAT)):
            tensor = response.outputs[name]
            tensor.dtype = dtype
            for size in (rows, len(ITEMS)):
                tensor.tensor_shape.dim.add().size = size
        for _ in range(rows):
            response.outputs["item_id"].string_val.extend(item.encode() for item in ITEMS)
            response.outputs["score"].float_val.extend(range(len(ITEMS), 0, -1))
        return response

    def _metadata(
        self, request: wire_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> wire_pb2.GetModelMetadataResponse:
        signature_map = wire_pb2.SignatureDefMap()
        signature = signature_map.signature_def["recommend"]
        signature.method_name = "tensorflow/serving/predict"
        inputs = (("user_id", 1), ("history_item_id", 2), ("exclude_item_id", 2))
        for part, tensors, dtype in (
            (signature.inputs, inputs, _STRING),
            (signature.outputs, [("item_id", 2)], _STRING),
            (signature.outputs, [("score", 2)], _FLOAT),
        ):
            for name, rank in tensors:
                part[name].dtype = dtype
                for _ in range(rank):
                    part[name].tensor_shape.dim.add().size = -1
        response = wire_pb2.GetModelMetadataResponse()
        response.model_spec.version.value = 1
        response.metadata["signature_def"].value = signature_map.SerializeToString()
        return response

    def _status(
        self, request: wire_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> wire_pb2.GetModelStatusResponse:
        if self._status_failures:
            context.abort(grpc.StatusCode[self._status_failures.pop(0)], "on command")
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        response = wire_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=1, state=wire_pb2.ModelVersionStatus.State.Value(state))
        return response
