"""Warm-up requests: written into an export, replayed by the server before it calls a version available."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc

from serving.assets import WARM_UP_REQUESTS
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
            try:
                stub.Predict(request, timeout=timeout_seconds, wait_for_ready=True)
            except grpc.RpcError as error:
                raise TowersError(
                    f"{saved_model}: warm-up request {answered + 1} ({request.model_spec.signature_name}) failed at "
                    f"{address}: {error.code().name} {error.details()}"
                ) from None
            answered += 1
    return answered


def _record(model_name: str, signature: str, inputs: Mapping[str, np.ndarray]) -> prediction_log_pb2.PredictionLog:
    record = prediction_log_pb2.PredictionLog()
    request = record.predict_log.request
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return record
