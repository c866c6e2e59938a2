"""Random and mutated requests to a model server, by gRPC and REST, from a seed: what a test and a benchmark send."""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

from serving.client.metadata import SignatureSpec, TensorSpec
from serving.wire.api import MODEL_SERVICE, PREDICTION_SERVICE
from serving.wire.protos import wire_pb2
from serving.wire.tensors import STRING, type_number

PREDICT = f"/{PREDICTION_SERVICE}/Predict"
METADATA = f"/{PREDICTION_SERVICE}/GetModelMetadata"
STATUS = f"/{MODEL_SERVICE}/GetModelStatus"
# HandleReloadConfigRequest is left out: a request that happens to be valid takes the model away.
_OTHERS = (METADATA, STATUS, f"/{PREDICTION_SERVICE}/Classify", "/tensorflow.serving.Nothing/Call")

TEXTS = (
    "",
    "guitar music",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 emoji",
    "\u0645\u0631\u062d\u0628\u0627 \u202e right to left \u202c",
    "\x00\x01\x02\x1b[31m control \x7f",
    "a\u0301\u0301\u0301\u0301 \ufeff\ufffe\uffff",
    "科幻小说 你好",
    "%s%n{}{0}${x}' OR 1=1 --",
    "item-0001",
    " \t\r\n ",
)
RAW_BYTES = (b"\xff\xfe\xfd", b"\xed\xa0\x80", b"\xc0\xaf", b"half \xe4\xbd")  # no UTF-8
NUMBERS = (0, 1, -1, 127, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63), 1_700_000_000)
FLOATS = (0.0, -0.0, 1.5, float("nan"), float("inf"), float("-inf"), 3.4e38, 1e-45, -1e30)
SIZES = (0, 1, 2, 3, 17)
BAD_SIZES = (-1, -(2**63), 2**31, 2**62, 10**12)
NAMES = ("", "nope", "serving_default", "__saved_model_init_op", "x" * 2000, "\u202e", "a/b:c", "item_id")
ENDS = (
    *("", "/metadata", ":predict", ":classify", ":nothing", "?a=b", "/../..", "/labels/stable:predict", "/labels/%ff"),
    *("/versions/1:predict", "/versions/99999999999999999999:predict", "/versions/x"),
)
KINDS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 17, 18, 19, 20, 21, 22, 23, 99, 101)  # DataTypes, some of them not


class GrpcCall(NamedTuple):
    method: str
    body: bytes


class HttpCall(NamedTuple):
    method: str
    path: str
    body: bytes


class Fuzzer:
    """Makes requests, the same ones from the same seed.

    Args:
        model: the server's name for it.
        signatures: that are asked.
        seed: of everything random.
        largest_text: bytes of the longest text.
        largest_batch: rows.
    """

    def __init__(
        self,
        model: str,
        signatures: Mapping[str, SignatureSpec],
        seed: int,
        largest_text: int = 2**20,
        largest_batch: int = 10_000,
    ) -> None:
        self._model = model
        self._signatures = dict(signatures)
        self._random = random.Random(seed)
        self._largest_text = largest_text
        self._largest_batch = largest_batch

    def grpc_call(self) -> GrpcCall:
        draw = self._random.random()
        if draw < 0.1:
            return self._other_call()
        request = self._predict_request()
        for _ in range(self._random.choice((0, 1, 1, 2, 3))):
            self._random.choice(self._mutations())(request)
        body = request.SerializeToString()
        return GrpcCall(PREDICT, self._damaged(body) if draw > 0.8 else body)

    def http_call(self) -> HttpCall:
        key, spec = self._signature()
        document = self._document(key, spec)
        for _ in range(self._random.choice((0, 1, 1, 2))):
            document = self._mutated(document)
        body = json.dumps(document).encode()
        path = f"/v1/models/{self._model}:predict"
        draw = self._random.random()
        if draw > 0.8:
            body = self._damaged(body)
        elif draw > 0.7:
            path = self._path()
        return HttpCall("GET" if draw > 0.95 else "POST", path, body)

    # Valid requests

    def _signature(self) -> tuple[str, SignatureSpec]:
        return self._random.choice(sorted(self._signatures.items()))

    def _predict_request(self) -> wire_pb2.PredictRequest:
        key, spec = self._signature()
        request = wire_pb2.PredictRequest()
        request.model_spec.name = self._model
        request.model_spec.signature_name = key
        batch, columns = self._batch(), self._random.choice(SIZES)
        for name, tensor in spec.inputs.items():
            self._fill(request.inputs[name], tensor, batch, columns)
        return request

    def _fill(self, message: wire_pb2.TensorProto, tensor: TensorSpec, batch: int, columns: int) -> None:
        message.dtype = type_number(tensor.dtype)
        message.tensor_shape.SetInParent()
        count = 1
        for size in self._shape(tensor, batch, columns):
            message.tensor_shape.dim.add().size = size
            count *= size
        count = min(count, 200)  # the last one stands for the others
        if message.dtype == STRING:
            message.string_val.extend(self._text() for _ in range(count))
        elif tensor.dtype.kind == "f":
            message.float_val.extend(self._random.choice(FLOATS) for _ in range(count))
        elif message.dtype == 9:
            message.int64_val.extend(self._random.choice(NUMBERS[:6] + NUMBERS[7:]) for _ in range(count))
        else:
            message.int_val.extend(self._random.choice(NUMBERS[:6]) for _ in range(count))

    def _shape(self, tensor: TensorSpec, batch: int, columns: int) -> list[int]:
        sizes = [batch, columns, *(3 for _ in range(8))]
        declared = tensor.shape if tensor.shape is not None else (-1,)
        return [size if size >= 0 else sizes[index] for index, size in enumerate(declared)]

    def _batch(self) -> int:
        draw = self._random.random()
        if draw < 0.02:
            return self._largest_batch
        return 0 if draw < 0.1 else self._random.choice((1, 1, 2, 3, 5))

    def _text(self) -> bytes:
        draw = self._random.random()
        if draw < 0.005:
            return b"word " * (self._largest_text // 5)
        if draw < 0.1:
            return self._random.choice(RAW_BYTES)
        if draw < 0.2:
            return self._random.randbytes(self._random.randrange(40))
        return self._random.choice(TEXTS).encode()

    # Mutations of messages

    def _mutations(self) -> list:
        of_tensors = [self._change_type, self._change_size, self._change_rank, self._change_content, self._drop_values]
        return [*of_tensors, *of_tensors, self._drop_input, self._add_input, self._filter_outputs, self._change_spec]

    def _tensor(self, request: wire_pb2.PredictRequest) -> wire_pb2.TensorProto:
        names = sorted(request.inputs)
        return request.inputs[self._random.choice(names) if names else "new"]

    def _change_type(self, request: wire_pb2.PredictRequest) -> None:
        self._tensor(request).dtype = self._random.choice(KINDS)

    def _change_size(self, request: wire_pb2.PredictRequest) -> None:
        dims = self._tensor(request).tensor_shape.dim
        if dims:
            self._random.choice(dims).size = self._random.choice(SIZES + BAD_SIZES)

    def _change_rank(self, request: wire_pb2.PredictRequest) -> None:
        shape = self._tensor(request).tensor_shape
        draw = self._random.random()
        if draw < 0.3:
            shape.unknown_rank = True
        elif draw < 0.6:
            for _ in range(self._random.choice((1, 1, 40, 300))):
                shape.dim.add().size = self._random.choice((0, 1, 2))
        else:
            del shape.dim[-1:]

    def _change_content(self, request: wire_pb2.PredictRequest) -> None:
        self._tensor(request).tensor_content = self._random.randbytes(self._random.choice((1, 4, 8, 64, 1000)))

    def _drop_values(self, request: wire_pb2.PredictRequest) -> None:
        tensor = self._tensor(request)
        for name in ("string_val", "int64_val", "int_val", "float_val"):
            if self._random.random() < 0.7:
                del getattr(tensor, name)[self._random.choice((0, 1)) :]

    def _drop_input(self, request: wire_pb2.PredictRequest) -> None:
        if request.inputs:
            del request.inputs[self._random.choice(sorted(request.inputs))]

    def _add_input(self, request: wire_pb2.PredictRequest) -> None:
        request.inputs[self._random.choice(NAMES)].CopyFrom(self._tensor(request))

    def _filter_outputs(self, request: wire_pb2.PredictRequest) -> None:
        known = sorted(name for spec in self._signatures.values() for name in spec.outputs)
        request.output_filter.extend(self._random.choice([*known, *NAMES]) for _ in range(self._random.choice(SIZES)))

    def _change_spec(self, request: wire_pb2.PredictRequest) -> None:
        spec = request.model_spec
        draw = self._random.randrange(5)
        if draw == 0:
            spec.name = self._random.choice(NAMES)
        elif draw == 1:
            spec.signature_name = self._random.choice(NAMES)
        elif draw == 2:
            spec.version.value = self._random.choice(NUMBERS)
        elif draw == 3:
            spec.version_label = self._random.choice(NAMES)
        else:
            request.ClearField("model_spec")

    def _other_call(self) -> GrpcCall:
        request = wire_pb2.GetModelMetadataRequest()
        request.model_spec.name = self._random.choice((self._model, *NAMES))
        if self._random.random() < 0.5:
            request.model_spec.version.value = self._random.choice(NUMBERS)
        request.metadata_field.extend(self._random.sample(("signature_def", *NAMES), self._random.randrange(3)))
        method, body = self._random.choice(_OTHERS), request.SerializeToString()
        return GrpcCall(method, self._damaged(body) if self._random.random() < 0.3 else body)

    def _damaged(self, body: bytes) -> bytes:
        """Some bytes of it changed, cut, put in, or nothing of it left."""
        data = bytearray(body)
        for _ in range(self._random.choice((1, 1, 3, 10))):
            where = self._random.randrange(len(data) + 1)
            draw = self._random.random()
            if draw < 0.5 and where < len(data):
                data[where] ^= 1 << self._random.randrange(8)
            elif draw < 0.7:
                del data[where:]
            elif draw < 0.9:
                data[where:where] = self._random.randbytes(self._random.randrange(1, 9))
            else:
                data = bytearray(self._random.randbytes(self._random.randrange(60)))
        return bytes(data)

    # JSON

    def _document(self, key: str, spec: SignatureSpec) -> dict[str, Any]:
        batch, columns = self._random.choice((0, 1, 2, 3)), self._random.choice(SIZES)
        inputs = {
            name: self._json_value(tensor, self._shape(tensor, batch, columns)) for name, tensor in spec.inputs.items()
        }
        if self._random.random() < 0.5:
            return {"signature_name": key, "inputs": inputs}
        rows: list[Any] = [
            {name: value[row] if isinstance(value, list) else value for name, value in inputs.items()}
            for row in range(batch)
        ]
        return {"signature_name": key, "instances": rows}

    def _json_value(self, tensor: TensorSpec, shape: list[int]) -> Any:
        if shape:
            return [self._json_value(tensor, shape[1:]) for _ in range(shape[0])]
        if tensor.dtype == object:
            if self._random.random() < 0.2:
                return {"b64": base64.b64encode(self._text()).decode()}
            return self._random.choice(TEXTS)
        return self._random.choice(FLOATS if tensor.dtype.kind == "f" else NUMBERS)

    def _mutated(self, document: Any) -> Any:
        """A copy with one of its values replaced, taken out, put in a list, or given another name."""
        document = copy.deepcopy(document)
        node = document
        while isinstance(node, dict | list) and node:
            key = self._random.choice(sorted(node)) if isinstance(node, dict) else self._random.randrange(len(node))
            inner = node[key]
            if not isinstance(inner, dict | list) or not inner or self._random.random() < 0.3:
                draw = self._random.randrange(4)
                if draw == 0:
                    del node[key]
                elif draw == 1:
                    node[key] = [inner]
                elif draw == 2 and isinstance(node, dict):
                    node[self._random.choice(NAMES)] = node.pop(key)
                else:
                    node[key] = self._random.choice(
                        (None, True, {}, [], "text", 1, -1.5, 10**400, {"b64": "?"}, {"b64": 1}, [[], [1]], "\ud800")
                    )
                break
            node = inner
        return document

    def _path(self) -> str:
        model = self._random.choice((self._model, "nope", "%ff", "%00", "a%2Fb", "", "x" * 3000))
        end = self._random.choice(ENDS)
        return f"{self._random.choice(('/v1/models/', '/v2/models/', '//'))}{model}{end}"
