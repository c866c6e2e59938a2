"""Warm-up requests: written into an export, replayed by the server before it calls a version available."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc

from serving.model_files import WARM_UP_REQUESTS
from trainer.errors import TowersError

MAX_RECORDS = 1000  # more, and TensorFlow Serving refuses to load the model

Request = tuple[str, Mapping[str, np.ndarray]]  # signature, inputs


def write(saved_model: str | os.PathLike[str], model_name: str, requests: Iterable[Request]) -> int:
    """Writes warm-up records into a SavedModel's directory; returns their number.

    Raises:
      ValueError: there are more than the server takes.
    """
    path = Path(saved_model) / WARM_UP_REQUESTS
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [_record(model_name, signature, inputs) for signature, inputs in requests]
    if len(records) > MAX_RECORDS:
        raise ValueError(f"there should be at most {MAX_RECORDS} warm-up requests. Received: {len(records)}")
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record.SerializeToString())
    return len(records)


def read(saved_model: str | os.PathLike[str]) -> Iterator[predict_pb2.PredictRequest]:
    """The requests of a SavedModel; none if it has no warm-up file."""
    path = Path(saved_model) / WARM_UP_REQUESTS
    if path.exists():
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield prediction_log_pb2.PredictionLog.FromString(record).predict_log.request


def replay(
    saved_model: str | os.PathLike[str], address: str, model_name: str | None = None, timeout_seconds: float = 60.0
) -> int:
    """Sends a SavedModel's warm-up requests to a running server.

    Args:
      saved_model: the directory whose requests are sent.
      address: `host:port` of the gRPC port.
      model_name: the server's name for the model; by default the one in the records.
      timeout_seconds: for each request.

    Returns:
      The number of requests answered.

    Raises:
      TowersError: a request was not answered.
    """
    answered = 0
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for request in read(saved_model):
            if model_name is not None:
                request.model_spec.name = model_name
            what = f"{saved_model}: warm-up request {answered + 1} ({request.model_spec.signature_name})"
            _send(stub, request, what, address, timeout_seconds)
            answered += 1
    return answered


def measure(
    saved_model: str | os.PathLike[str],
    address: str,
    model_name: str,
    signatures: Iterable[str],
    *,
    requests: int = 50,
    timeout_seconds: float = 60.0,
) -> dict[str, dict[str, float]]:
    """How long a running server takes for a model's smallest warm-up requests, sent one after another.

    Args:
      saved_model: the directory whose requests are sent.
      address: `host:port` of the gRPC port.
      model_name: the server's name for the model.
      signatures: those to measure, as far as the model has them.
      requests: so many of each; half as many go before and are not counted.
      timeout_seconds: for each request.

    Returns:
      signature -> `requests`, `p50_ms`, `p95_ms`, `p99_ms`.

    Raises:
      TowersError: a request was not answered.
    """
    smallest: dict[str, list[predict_pb2.PredictRequest]] = {}
    for request in read(saved_model):
        request.model_spec.name = model_name
        rows = min(value.tensor_shape.dim[0].size for value in request.inputs.values())
        if rows == 1:
            smallest.setdefault(request.model_spec.signature_name, []).append(request)
    found = {}
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for name in (name for name in signatures if name in smallest):
            seconds = []
            for number in range(requests + requests // 2):
                request = smallest[name][number % len(smallest[name])]
                start = time.perf_counter()
                _send(stub, request, f"{saved_model}: a request to {name}", address, timeout_seconds)
                seconds.append(time.perf_counter() - start)
            p50, p95, p99 = np.quantile(np.array(seconds[requests // 2 :]) * 1e3, [0.5, 0.95, 0.99]).tolist()
            found[name] = {"requests": requests, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}
    return found


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


def _record(model_name: str, signature: str, inputs: Mapping[str, np.ndarray]) -> prediction_log_pb2.PredictionLog:
    record = prediction_log_pb2.PredictionLog()
    request = record.predict_log.request
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return record
