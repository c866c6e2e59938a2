"""A served model in this process: the same calls as the server makes for a request, with NumPy arrays in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from serving_model import NAME

if TYPE_CHECKING:
    from tensorflow.core.protobuf.config_pb2 import ConfigProto

    from serving.client.metadata import ModelMetadata


class InProcess:
    """The model loaded as the server loads it.

    Args:
        directory: directory of the version.
        config: configuration of its session; None for the server's.
        text_cache_mib: as the server's flag; 0 = no cache of texts.
    """

    def __init__(self, directory: Path, config: ConfigProto | None = None, text_cache_mib: int = 0) -> None:
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        from serving.server.monitoring.metrics import Registry
        from serving.server.runtime import custom_ops, servable
        from serving.server.runtime.text_cache import TextCache
        from serving.server.runtime.text_reuse import TextReuse
        from serving.wire.tensors import register_bfloat16

        register_bfloat16(tf.bfloat16.as_numpy_dtype)
        custom_ops.register()
        self._directory = directory
        self._servable = servable.load(NAME, 1, directory, config)
        if text_cache_mib:
            cache = TextCache(text_cache_mib * 2**20, Registry())
            self._servable.text_reuse = TextReuse.from_metadata(self._servable, directory, cache)

    def warm_up(self) -> int:
        """Answers the warm-up requests in the export. Returns their number."""
        from serving.server.runtime.warm_up_replay import replay_warm_up

        return replay_warm_up(self._servable, self._directory)

    def metadata(self) -> ModelMetadata:
        """As `PredictionClient.metadata`."""
        from serving.client.metadata import parse_metadata
        from serving.wire.api import METADATA_FIELD
        from serving.wire.protos import wire_pb2

        response = wire_pb2.GetModelMetadataResponse()
        response.metadata[METADATA_FIELD].value = self._servable.signature_map.value
        return parse_metadata(response)

    def calls(self, key: str) -> Callable[[Mapping], list]:
        """The function that answers requests to a signature."""
        from serving.server.runtime.predict import run

        signature = self._servable.signatures[key]
        outputs = list(signature.outputs.values())

        def call(request: Mapping) -> list:
            return run(self._servable, signature, [request[name] for name in signature.inputs], outputs)

        return call

    def predict(self, key: str, request: Mapping) -> dict[str, np.ndarray]:
        """As `PredictionClient.predict`."""
        return dict(zip(self._servable.signatures[key].outputs, self.calls(key)(request), strict=True))

    def close(self) -> None:
        self._servable.close()
