"""Warm-up requests of an export: the server replays them before it calls a version available."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.model_files import MAX_WARM_UP_RECORDS, WARM_UP_REQUESTS

Request = tuple[str, Mapping[str, np.ndarray]]  # signature, inputs


def write(saved_model: str | os.PathLike[str], model_name: str, requests: Iterable[Request]) -> int:
    """Writes warm-up records into a SavedModel's directory; returns their number.

    Raises:
      ValueError: there are more than the server takes.
    """
    path = Path(saved_model) / WARM_UP_REQUESTS
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [_record(model_name, signature, inputs) for signature, inputs in requests]
    if len(records) > MAX_WARM_UP_RECORDS:
        raise ValueError(f"there should be at most {MAX_WARM_UP_RECORDS} warm-up requests. Received: {len(records)}")
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


def _record(model_name: str, signature: str, inputs: Mapping[str, np.ndarray]) -> prediction_log_pb2.PredictionLog:
    record = prediction_log_pb2.PredictionLog()
    request = record.predict_log.request
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return record
