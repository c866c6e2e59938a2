"""Warm-up: requests shipped with a model, replayed before it serves, so that no caller pays for the first call.

ScaNN builds its index at the first call and TensorFlow prepares each set of inputs and outputs once: a record for
every signature moves both before AVAILABLE, and a graph that cannot answer fails the load instead of its callers.
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
    """Replays the records in `directory`'s warm-up file, a TFRecord of `PredictionLog`; returns how many.

    Raises:
        RequestError: a record is broken, of another kind than Predict, or was not answered; or there are too many.
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
