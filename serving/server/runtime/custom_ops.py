"""Registers the ops of tensorflow-text and ScaNN, and checks that all ops of a graph are registered."""

import logging

from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from serving.server.request_errors import RequestError, failed_precondition

logger = logging.getLogger(__name__)

_SCANN_REMEDY = (
    "install `scann` in the release built for this TensorFlow (1.3.2 for 2.16), or export the model with the "
    "brute-force index"
)


def register() -> None:
    """Registers the ops of tensorflow-text and ScaNN, if they are installed.

    A missing or broken library is only logged. `require_ops` raises an error if a model needs the library.
    """
    for library in ("tensorflow_text", "scann"):
        try:
            __import__(library)
        except Exception as error:  # a library built for another TensorFlow can raise anything
            logger.warning("%s's ops are not available: %s", library, error)


def require_ops(saved_model: saved_model_pb2.SavedModel) -> None:
    """Checks that every op of the graph, function bodies included, is registered.

    TensorFlow itself reports a missing op in a function body only at the first call.

    Raises:
        RequestError: FAILED_PRECONDITION; the message names the missing ops and what to install.
    """
    missing: set[str] = set()
    for meta_graph in saved_model.meta_graphs:
        library = meta_graph.graph_def.library
        functions = {function.signature.name for function in library.function}
        nodes = [meta_graph.graph_def.node, *(function.node_def for function in library.function)]
        used = {node.op for group in nodes for node in group} - functions
        missing |= {op for op in used if op_def_registry.get(op) is None}
    if missing:
        raise _missing_ops(sorted(missing))


def _missing_ops(ops: list[str]) -> RequestError:
    remedies = [_SCANN_REMEDY] if any(op.startswith("Scann>") for op in ops) else []
    if not all(op.startswith("Scann>") for op in ops):
        remedies.append("install `tensorflow-text` in this TensorFlow's version, or the library the ops come from")
    return failed_precondition(f"Op types not registered in this server: {', '.join(ops)}; {'; '.join(remedies)}")
