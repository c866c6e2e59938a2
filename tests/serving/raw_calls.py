"""A model server as clients see it: requests by gRPC's original stubs and by REST, codes and messages."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import grpc
import numpy as np
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.wire.tensors import array_from_tensor, fill_tensor

Inputs = Mapping[str, np.ndarray]


class Wire:
    """The two ports of a server, and a model that it serves.

    Args:
        server: a `RunningServer`.
        model: the name the server has the model under.
    """

    def __init__(self, server: Any, model: str) -> None:
        self.grpc_address: str = server.address
        self.rest_address: str = server.rest.address if server.rest is not None else ""
        self.model = model
        self.channel = grpc.insecure_channel(server.address)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self._status = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, signature: str, inputs: Inputs) -> tuple[str, Any]:
        """By gRPC: "OK" and the outputs, or the code's name and the message."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self.model
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            fill_tensor(request.inputs[name], value)
        try:
            response = self._prediction.Predict(request, timeout=60)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", {name: array_from_tensor(tensor) for name, tensor in response.outputs.items()}

    def post(self, signature: str, inputs: Inputs) -> tuple[int, Any]:
        """By REST, in the column format: 200 and the outputs, or the code and the message."""
        columns = {name: _json_value(value) for name, value in inputs.items()}
        body = json.dumps({"signature_name": signature, "inputs": columns}).encode()
        url = f"http://{self.rest_address}/v1/models/{self.model}:predict"
        try:
            with urllib.request.urlopen(url, body, timeout=60) as reply:
                return reply.status, json.load(reply)["outputs"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]

    def inputs_of(self, signature: str) -> set[str]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self.model
        packed = self._prediction.GetModelMetadata(request, timeout=20).metadata["signature_def"]
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert packed.Unpack(signatures)
        return set(signatures.signature_def[signature].inputs)

    def statuses(self) -> dict[int, tuple[str, int, str]]:
        """State of each version, and code and message of the error it ended with."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self.model
        name = get_model_status_pb2.ModelVersionStatus.State.Name
        return {
            entry.version: (name(entry.state), entry.status.error_code, entry.status.error_message)
            for entry in self._status.GetModelStatus(request, timeout=20).model_version_status
        }

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()


def _json_value(value: np.ndarray) -> Any:
    """Strings as base64: they may be no text."""

    def encoded(nested: Any) -> Any:
        if isinstance(nested, list):
            return [encoded(inner) for inner in nested]
        return {"b64": base64.b64encode(nested).decode()} if isinstance(nested, bytes) else nested

    return encoded(value.tolist())
