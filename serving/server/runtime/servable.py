"""One loaded version of a model: a graph, the session that runs it, and its signatures."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, saved_model_pb2
from tensorflow.python.client import pywrap_tf_session
from tensorflow_serving.apis import get_model_metadata_pb2

from serving.server.request_errors import from_runtime_error, invalid_argument
from serving.server.runtime import custom_ops
from serving.server.runtime.callable_signatures import Output, Signature, callable_signatures
from serving.server.runtime.session_config import session_config

logger = logging.getLogger(__name__)

GRAPH_FILE = "saved_model.pb"


class Shortcut(Protocol):
    """Answers some requests otherwise than by one run of their signature."""

    def run(
        self, signature: Signature, arrays: Sequence[np.ndarray], outputs: Sequence[Output], timeout_ms: int | None
    ) -> list[np.ndarray] | None:
        """The outputs, or None for a request that the signature itself should answer."""


class Servable:
    """A graph and its `tf.compat.v1.Session`, made by `load`.

    The session path is TensorFlow Serving's own. `tf.saved_model.load` would leak ScaNN's index at every swap.

    Attributes:
        name, version: which model this is.
        signatures: by key.
        signature_map: what GetModelMetadata answers, packed once.
        users: calls in flight; the owner counts them under its own lock.
        text_reuse: answers requests with texts from cached vectors; None if the server has no cache.
        max_rows: the largest batch of a run; None for no limit.
    """

    max_rows: int | None = None

    def __init__(
        self, name: str, version: int, session: tf.compat.v1.Session, meta_graph: meta_graph_pb2.MetaGraphDef
    ) -> None:
        self.name = name
        self.version = version
        self.signatures: dict[str, Signature] = callable_signatures(session.graph, meta_graph)
        # By output: all outputs of its signature.
        self._fetched: dict[Any, list[Any]] = {}
        for signature in self.signatures.values():
            together = [output.handle for output in signature.outputs.values()]
            self._fetched |= dict.fromkeys(together, together)
        self.signature_map = _packed_signatures(meta_graph)
        self.users = 0
        self.text_reuse: Shortcut | None = None
        self._session = session

    def run(self, feeds: Mapping[Any, np.ndarray], fetches: Sequence[Any], timeout_ms: int | None) -> list[Any]:
        """Runs the graph once.

        `Session.run` resolves names and converts values again at every call: 200 µs against 20 µs for the call below
        it on a small graph. The caller has checked names, dtypes and shapes already.

        All outputs of the signature are computed, whichever are wanted: a session prepares the graph anew for each
        choice of outputs, which takes seconds of its first call, and keeps it as long as it lives. TensorFlow Serving
        computes what is wanted alone: what fails in another output fails the call here only.

        Args:
            feeds: arrays by input handle. fetches: output handles, of one signature.
            timeout_ms: milliseconds until the run is cancelled; None for no limit.

        Raises:
            RequestError: with the code and message of TensorFlow's error.
        """
        options = None
        if timeout_ms is not None:
            run_options = config_pb2.RunOptions(timeout_in_ms=timeout_ms)
            options = pywrap_tf_session.TF_NewBufferFromString(run_options.SerializeToString())
        fetched = self._fetched[fetches[0]] if fetches else []
        try:
            values = self._session._call_tf_sessionrun(options, feeds, fetched, [], None)
        except tf.errors.OpError as error:
            raise from_runtime_error(error) from None
        except UnicodeDecodeError as error:
            # Of the error's message, whose code is lost with it: the graph refused a value, and quotes its bytes.
            raise invalid_argument(error.object.decode("utf-8", "backslashreplace")) from None
        finally:
            if options is not None:
                pywrap_tf_session.TF_DeleteBuffer(options)
        by_handle = dict(zip(fetched, values, strict=True))
        return [by_handle[handle] for handle in fetches]

    def close(self) -> None:
        """Frees the session and what it holds. A call in flight ends with CANCELLED."""
        self._session.close()


def load(
    name: str,
    version: int,
    directory: Path,
    config: config_pb2.ConfigProto | None = None,
    make: Callable[..., Servable] = Servable,
) -> Servable:
    """Loads the SavedModel in `directory` (tag `serve`) into a session of its own.

    Args:
        config: of the session; None for the server's own, with as many threads as TensorFlow takes by itself.
        make: what to make of it, with `Servable`'s arguments.

    Raises:
        RequestError: whatever is wrong with the directory or the graph.
    """
    started = time.monotonic()
    session = tf.compat.v1.Session(graph=tf.Graph(), config=session_config() if config is None else config)
    try:
        custom_ops.require_ops(_read_saved_model(directory / GRAPH_FILE))
        with session.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.loader.load(session, [tf.saved_model.SERVING], str(directory))
        session.graph.finalize()
        session._extend_graph()
        servable = make(name, version, session, meta_graph)
    except BaseException as error:
        session.close()
        raise _load_error(error) from error
    logger.info("loaded %s version %d in %.1f s", name, version, time.monotonic() - started)
    return servable


def _read_saved_model(path: Path) -> saved_model_pb2.SavedModel:
    return saved_model_pb2.SavedModel.FromString(path.read_bytes())


def _load_error(error: BaseException) -> BaseException:
    if isinstance(error, tf.errors.OpError):
        return from_runtime_error(error, "cannot load the SavedModel")
    if isinstance(error, DecodeError):
        return invalid_argument(f"{GRAPH_FILE} is not a SavedModel, or only a part of one")
    if isinstance(error, OSError | RuntimeError | ValueError | KeyError | TypeError):
        return invalid_argument(f"cannot load the SavedModel: {' '.join(str(error).split())}")
    return error  # RequestError, or the process is asked to stop


def _packed_signatures(meta_graph: meta_graph_pb2.MetaGraphDef) -> AnyMessage:
    signature_map = get_model_metadata_pb2.SignatureDefMap()
    for key, signature in meta_graph.signature_def.items():
        signature_map.signature_def[key].CopyFrom(signature)
    packed = AnyMessage()
    packed.Pack(signature_map, deterministic=True)
    return packed
