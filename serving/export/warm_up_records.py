"""Makes, writes and reads the warm-up requests of an export. Servers replay them before a version is available."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.model_files import MAX_WARM_UP_RECORDS, WARM_UP_REQUESTS
from serving.wire.tensors import bytes_array
from trainer.data.tables import ItemTable

_BATCH_SIZES = (1, 4)
_HISTORY_LENGTHS = (0, 3)

Request = tuple[str, Mapping[str, np.ndarray]]  # signature, inputs


def example_requests(signatures: Mapping[str, Any], items: ItemTable) -> list[Request]:
    """Requests for every signature: with histories and without, each in a batch of 1 and in a batch of 4.

    Args:
      signatures: name -> concrete function.
      items: the catalogue; its item ids and titles are used as values.
    """
    requests: list[Request] = []
    for name, function in signatures.items():
        specs = function.structured_input_signature[1].values()
        for batch in _BATCH_SIZES:
            for events in _HISTORY_LENGTHS:
                requests.append((name, {spec.name: _example_value(spec, batch, events, items) for spec in specs}))
    return requests


def write(saved_model: str | os.PathLike[str], model_name: str, requests: Iterable[Request]) -> int:
    """Writes warm-up records into a SavedModel's directory. Returns their number.

    Raises:
      ValueError: there are more than a server accepts.
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
    """The warm-up requests of a SavedModel; none if it has no such file."""
    path = Path(saved_model) / WARM_UP_REQUESTS
    if path.exists():
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield prediction_log_pb2.PredictionLog.FromString(record).predict_log.request


def _example_value(spec: tf.TensorSpec, batch: int, events: int, items: ItemTable) -> np.ndarray:
    """An example value of an input: catalogue ids, titles and ones, or, without events, mostly "" and zeros."""
    any_size = [batch, *[events] * (spec.shape.rank - 1)]
    shape = [default if size is None else size for default, size in zip(any_size, spec.shape, strict=True)]
    if spec.dtype != tf.string:
        length = shape[-1] ** 0.5 if spec.name.endswith("_embedding") else 1  # vectors of texts have length 1
        return np.full(shape, 1 / length if events else 0, spec.dtype.as_numpy_dtype)
    rows = np.arange(int(np.prod(shape))) % len(items)
    if spec.name in ("history_item_id", "candidate_item_id") or (spec.name == "item_id" and events):
        values = items.item_id[rows]
    elif events and ("text" in spec.name or spec.name == "allowed_category"):  # titles are unknown categories
        values = items.title[rows]
    else:
        values = np.full(len(rows), "", object)
    return bytes_array([str(value).encode() for value in values]).reshape(shape)


def _record(model_name: str, signature: str, inputs: Mapping[str, np.ndarray]) -> prediction_log_pb2.PredictionLog:
    record = prediction_log_pb2.PredictionLog()
    request = record.predict_log.request
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return record
