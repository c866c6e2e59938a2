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
    """Answers some requests in another way than by running their signature."""

    def run(
        self, signature: Signature, arrays: Sequence[np.ndarray], outputs: Sequence[Output], timeout_ms: int | None
    ) -> list[np.ndarray] | None:
        """The values of `outputs`; None if the signature itself should be run."""


class Servable:
    """A graph and its `tf.compat.v1.Session`, made by `load`.

    TensorFlow Serving uses a session too. `tf.saved_model.load` would leak ScaNN's index at every swap.

    Attributes:
        name, version: of the model.
        signatures: by key.
        signature_map: the packed answer to GetModelMetadata.
        users: number of calls in flight. `Model` counts them under its own lock.
        text_reuse: answers requests that contain texts, with cached text vectors; None if vectors are not cached.
        max_rows: the largest number of rows of a run; None for no limit.
    """

    max_rows: int | None = None

    def __init__(
        self, name: str, version: int, session: tf.compat.v1.Session, meta_graph: meta_graph_pb2.MetaGraphDef
    ) -> None:
        self.name = name
        self.version = version
        self.signatures: dict[str, Signature] = callable_signatures(session.graph, meta_graph)
        # Output handle -> handles of all outputs of the same signature.
        self._all_outputs: dict[Any, list[Any]] = {}
        for signature in self.signatures.values():
            handles = [output.handle for output in signature.outputs.values()]
            self._all_outputs |= dict.fromkeys(handles, handles)
        self.signature_map = _packed_signatures(meta_graph)
        self.users = 0
        self.text_reuse: Shortcut | None = None
        self._session = session

    def run(self, feeds: Mapping[Any, np.ndarray], fetches: Sequence[Any], timeout_ms: int | None) -> list[Any]:
        """Runs the graph once.

        The low-level call is used, because `Session.run` resolves names and converts values again: on a small graph it
        takes 200 µs, the low-level call 20 µs. The caller has already checked names, dtypes and shapes.

        All outputs of the signature are computed, even if the caller needs only some. A session prepares the graph
        separately for each set of outputs, which takes seconds at the first call and memory as long as the session
        lives. TensorFlow Serving computes only the requested outputs; an error in another output fails only here.

        Args:
            feeds: arrays by input handle.
            fetches: output handles, of one signature.
            timeout_ms: milliseconds until the run is cancelled; None for no limit.

        Raises:
            RequestError: with the code and message of TensorFlow's error.
        """
        options = None
        if timeout_ms is not None:
            run_options = config_pb2.RunOptions(timeout_in_ms=timeout_ms)
            options = pywrap_tf_session.TF_NewBufferFromString(run_options.SerializeToString())
        computed = self._all_outputs[fetches[0]] if fetches else []
        try:
            values = self._session._call_tf_sessionrun(options, feeds, computed, [], None)
        except tf.errors.OpError as error:
            raise from_runtime_error(error) from None
        except UnicodeDecodeError as error:
            # The message of TensorFlow's error quotes bytes that are not UTF-8, so the error's code is lost. Such an
            # error comes from a check of input values in the graph.
            raise invalid_argument(error.object.decode("utf-8", "backslashreplace")) from None
        finally:
            if options is not None:
                pywrap_tf_session.TF_DeleteBuffer(options)
        by_handle = dict(zip(computed, values, strict=True))
        return [by_handle[handle] for handle in fetches]

    def close(self) -> None:
        """Frees the session and its memory. Calls in flight end with CANCELLED."""
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
        config: configuration of the session; None for `session_config()`.
        make: `Servable`, or a function with the same arguments that returns one.

    Raises:
        RequestError: the directory or the graph is bad.
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
    return error  # a RequestError, or a request to stop the process


def _packed_signatures(meta_graph: meta_graph_pb2.MetaGraphDef) -> AnyMessage:
    signature_map = get_model_metadata_pb2.SignatureDefMap()
    for key, signature in meta_graph.signature_def.items():
        signature_map.signature_def[key].CopyFrom(signature)
    packed = AnyMessage()
    packed.Pack(signature_map, deterministic=True)
    return packed
