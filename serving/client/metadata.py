"""The signatures of a served model."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError

from serving.wire.api import METADATA_FIELD
from serving.wire.errors import ServingError
from serving.wire.protos import wire_pb2
from serving.wire.tensors import numpy_dtype, type_name


@dataclass(frozen=True)
class TensorSpec:
    """An input or output. Strings have dtype object. A size of -1 in `shape` is any size; None is any shape."""

    dtype: np.dtype
    shape: tuple[int, ...] | None
    type_name: str


@dataclass(frozen=True)
class SignatureSpec:
    """The inputs and outputs of a signature, by name."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclass(frozen=True)
class ModelMetadata:
    """A version and its signatures by key."""

    version: int
    signatures: Mapping[str, SignatureSpec]


def parse_metadata(response: wire_pb2.GetModelMetadataResponse) -> ModelMetadata:
    """The signatures in a response of GetModelMetadata.

    Raises:
        ServingError: DATA_LOSS: the response holds no signatures; UNIMPLEMENTED: a tensor has a type that NumPy lacks.
    """
    packed = response.metadata[METADATA_FIELD]
    try:
        signature_map = wire_pb2.SignatureDefMap.FromString(packed.value)
    except DecodeError:
        raise ServingError("DATA_LOSS", "the server's model metadata is not a SignatureDefMap") from None
    signatures = {
        key: SignatureSpec(
            {name: _spec(info) for name, info in sorted(signature.inputs.items())},
            {name: _spec(info) for name, info in sorted(signature.outputs.items())},
        )
        for key, signature in signature_map.signature_def.items()
        if signature.method_name  # signatures without one are internal to TensorFlow's loader
    }
    return ModelMetadata(response.model_spec.version.value, signatures)


def _spec(info: wire_pb2.TensorInfo) -> TensorSpec:
    try:
        dtype = numpy_dtype(info.dtype)
    except KeyError:
        raise ServingError("UNIMPLEMENTED", f"the model has a tensor of {type_name(info.dtype)}") from None
    shape = None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim)
    return TensorSpec(dtype, shape, type_name(info.dtype))
