"""Replays the warm-up requests of a model before it becomes available.

The first call of a signature is slow: ScaNN builds its index, and TensorFlow prepares the graph for the signature's
inputs and outputs. If there is a warm-up record for every signature, no caller has to wait for this. And a graph that
cannot answer then fails to load, before it can fail a caller.
"""

import logging
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.model_files import MAX_WARM_UP_RECORDS, WARM_UP_REQUESTS
from serving.server.request_errors import RequestError, from_runtime_error, invalid_argument, unimplemented
from serving.server.runtime.predict import predict
from serving.server.runtime.servable import Servable

logger = logging.getLogger(__name__)


def replay_warm_up(servable: Servable, directory: Path) -> int:
    """Replays the records in the warm-up file of `directory`, a TFRecord of `PredictionLog`. Returns their number.

    Raises:
        RequestError: there are too many records, or a record is broken, is not a Predict request, or was not answered.
    """
    path = directory / WARM_UP_REQUESTS
    if not path.exists():
        return 0
    replayed = 0
    try:
        for number, record in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()):
            if number == MAX_WARM_UP_RECORDS:
                raise invalid_argument(
                    f"Number of warmup records exceeds the maximum ({MAX_WARM_UP_RECORDS}) at {path}"
                )
            replayed += _replay(servable, record, number)
    except tf.errors.OpError as error:
        raise from_runtime_error(error, f"cannot read {WARM_UP_REQUESTS}") from None
    logger.info("%s version %d: %d warm-up requests answered", servable.name, servable.version, replayed)
    return replayed


def _replay(servable: Servable, record: bytes, number: int) -> int:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError:
        raise invalid_argument(f"warm-up record {number} is not a PredictionLog") from None
    kind = log.WhichOneof("log_type")
    if kind is None:
        return 0
    if kind != "predict_log":
        raise unimplemented(f"Unsupported log_type for warmup: {kind} (record {number})")
    try:
        predict(servable, log.predict_log.request)
    except RequestError as error:
        raise RequestError(error.code, f"warm-up record {number}: {' '.join(error.message.split())}") from None
    return 1
