"""The signatures of a loaded graph; the names of inputs and outputs are resolved to tensors of the graph."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.wire.tensors import array_from_tensor

_METHODS = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")


class Input(NamedTuple):
    alias: str
    tensor_name: str
    dtype: int  # a DataType
    shape: tuple[int, ...] | None  # -1 for any size; None for any rank
    handle: Any  # the tensor's TF_Output, which the session's low-level call takes


class Output(NamedTuple):
    alias: str
    tensor_name: str
    handle: Any


class Signature(NamedTuple):
    """A signature. `inputs` and `outputs` are sorted by alias."""

    key: str
    inputs: dict[str, Input]
    outputs: dict[str, Output]
    defaults: dict[str, np.ndarray]


def callable_signatures(graph: tf.Graph, meta_graph: meta_graph_pb2.MetaGraphDef) -> dict[str, Signature]:
    """The signatures that clients can call. The loader's own (`__saved_model_init_op`) are left out.

    Raises:
        KeyError, ValueError: a signature names a tensor that is not in the graph.
    """
    return {
        key: _signature(key, graph, signature)
        for key, signature in meta_graph.signature_def.items()
        if signature.method_name in _METHODS
    }


def _signature(key: str, graph: tf.Graph, signature: meta_graph_pb2.SignatureDef) -> Signature:
    def handle(info: meta_graph_pb2.TensorInfo) -> Any:
        if info.WhichOneof("encoding") != "name":
            raise ValueError(f'Signature "{key}" has a sparse or composite tensor, which this server does not support.')
        return graph.get_tensor_by_name(info.name)._as_tf_output()

    inputs = {
        alias: Input(alias, info.name, info.dtype, _static_shape(info), handle(info))
        for alias, info in sorted(signature.inputs.items())
    }
    outputs = {alias: Output(alias, info.name, handle(info)) for alias, info in sorted(signature.outputs.items())}
    defaults = {alias: array_from_tensor(tensor) for alias, tensor in signature.defaults.items()}
    return Signature(key, inputs, outputs, defaults)


def _static_shape(info: meta_graph_pb2.TensorInfo) -> tuple[int, ...] | None:
    if info.tensor_shape.unknown_rank:
        return None
    return tuple(dim.size for dim in info.tensor_shape.dim)
