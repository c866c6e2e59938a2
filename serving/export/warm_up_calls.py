"""Sends the warm-up requests of an export to a running server, to check its answers and to measure its latency."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import grpc
import numpy as np
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.export import warm_up_records
from trainer.errors import TowersError


def send_requests(
    saved_model: str | os.PathLike[str], address: str, model_name: str | None = None, timeout_seconds: float = 60.0
) -> int:
    """Sends a SavedModel's warm-up requests to a running server.

    Args:
      saved_model: the SavedModel's directory.
      address: `host:port` of the gRPC port.
      model_name: the model's name at the server; by default the name in the records.
      timeout_seconds: for each request.

    Returns:
      The number of requests answered.

    Raises:
      TowersError: a request was not answered.
    """
    answered = 0
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for request in warm_up_records.read(saved_model):
            if model_name is not None:
                request.model_spec.name = model_name
            what = f"{saved_model}: warm-up request {answered + 1} ({request.model_spec.signature_name})"
            _send(stub, request, what, address, timeout_seconds)
            answered += 1
    return answered


def measure_latency(
    saved_model: str | os.PathLike[str],
    address: str,
    model_name: str,
    signatures: Iterable[str],
    *,
    requests: int = 50,
    timeout_seconds: float = 60.0,
) -> dict[str, dict[str, float]]:
    """Measures the latency of a running server with a model's warm-up requests of one row, sent one after another.

    Args:
      saved_model: the SavedModel's directory.
      address: `host:port` of the gRPC port.
      model_name: the model's name at the server.
      signatures: names of the signatures to measure; those without a warm-up request of one row are skipped.
      requests: number of requests measured for each signature. Half as many are sent before, unmeasured.
      timeout_seconds: for each request.

    Returns:
      signature -> `requests`, `p50_ms`, `p95_ms`, `p99_ms`.

    Raises:
      TowersError: a request was not answered.
    """
    requests_by_signature: dict[str, list[predict_pb2.PredictRequest]] = {}
    for request in warm_up_records.read(saved_model):
        request.model_spec.name = model_name
        rows = min(value.tensor_shape.dim[0].size for value in request.inputs.values())
        if rows == 1:
            requests_by_signature.setdefault(request.model_spec.signature_name, []).append(request)
    latencies = {}
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for name in (name for name in signatures if name in requests_by_signature):
            seconds = []
            for number in range(requests + requests // 2):
                request = requests_by_signature[name][number % len(requests_by_signature[name])]
                start = time.perf_counter()
                _send(stub, request, f"{saved_model}: a request to {name}", address, timeout_seconds)
                seconds.append(time.perf_counter() - start)
            p50, p95, p99 = np.quantile(np.array(seconds[requests // 2 :]) * 1e3, [0.5, 0.95, 0.99]).tolist()
            latencies[name] = {"requests": requests, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}
    return latencies


def _send(
    stub: prediction_service_pb2_grpc.PredictionServiceStub,
    request: predict_pb2.PredictRequest,
    what: str,
    address: str,
    timeout_seconds: float,
) -> None:
    try:
        stub.Predict(request, timeout=timeout_seconds, wait_for_ready=True)
    except grpc.RpcError as error:
        raise TowersError(f"{what} failed at {address}: {error.code().name} {error.details()}") from None
