"""Answers requests with texts from cached vectors of the texts.

A model may have a signature that takes vectors in place of the texts of another signature; the field `text_vectors` of
`assets.extra/interest_towers.json` then names both. The server answers a request with texts in two runs: `encode` for
the texts that the cache does not have, and `embedded` for the rest. The answer is the same as that of one run.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
import numpy as np

from serving.model_files import METADATA
from serving.server.request_errors import RequestError, deadline_passed
from serving.server.runtime.callable_signatures import Output, Signature
from serving.server.runtime.servable import Servable
from serving.server.runtime.text_cache import TextCache
from serving.wire.tensors import bytes_array

logger = logging.getLogger(__name__)

_TEXT, _VECTOR = "_text", "_text_embedding"  # ends of input names
_HISTORY, _HISTORY_ITEMS = "history_", "history_item_id"
# In a request. A vector is fed for every event of a history, also for those that the model does not read, so for a very
# long history one run with texts is cheaper.
_MAX_TEXTS = 4096


class TextReuse:
    """Answers the requests with texts of one loaded version.

    Args:
        servable: the version.
        cache: of the server.
        encoder: fingerprint of the version's text encoder.
        encode: name of the signature that encodes, `text` string [N] -> `embedding` float32 [N, width].
        embedded: signature -> the signature that takes `x_text_embedding` for each of its `x_text`.
        max_history: the model reads this many last events of a history, counting only those with an item id.

    Raises:
        KeyError: there is no such signature, input or output.
        ValueError: two signatures do not correspond.
    """

    def __init__(
        self,
        servable: Servable,
        cache: TextCache,
        *,
        encoder: str,
        encode: str,
        embedded: Mapping[str, str],
        max_history: int,
    ) -> None:
        self._servable = servable
        self._cache = cache
        self._encoder = encoder
        encode_signature = servable.signatures[encode]
        self._text = encode_signature.inputs["text"].handle
        self._vector = encode_signature.outputs["embedding"].handle
        self._embedded = {key: servable.signatures[other] for key, other in embedded.items()}
        self._max_history = max_history
        for key, other in self._embedded.items():
            signature = servable.signatures[key]
            inputs = {_embedded_name(alias) for alias in signature.inputs}
            if inputs != set(other.inputs) or not set(signature.outputs) <= set(other.outputs):
                raise ValueError(f"`{other.key}` should have the inputs and outputs of `{key}`, except for the texts")

    @classmethod
    def from_metadata(cls, servable: Servable, directory: Path, cache: TextCache) -> TextReuse | None:
        """Reads the version's metadata. None if they do not name such signatures, or wrong ones, which is logged."""
        path = directory / METADATA
        try:
            names = json.loads(path.read_text(encoding="utf-8")).get("text_vectors") if path.exists() else None
            return cls(servable, cache, **names) if names else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s: text vectors of %s are not cached: %s", path, servable.name, error)
            return None

    def run(
        self, signature: Signature, arrays: Sequence[np.ndarray], outputs: Sequence[Output], timeout_ms: int | None
    ) -> list[np.ndarray] | None:
        """The outputs; None if the request has no text, or if the signature itself should answer it.

        Args:
            arrays: of the signature's dtypes and ranks, in the order of its inputs.

        Raises:
            RequestError: the graph failed.
        """
        embedded = self._embedded.get(signature.key)
        if embedded is None:
            return None
        inputs = dict(zip(signature.inputs, arrays, strict=True))
        masks = self._masks(inputs)
        texts = {text for alias, mask in masks.items() for text in inputs[alias][mask].tolist()} - {b""}
        if not texts:
            return None
        deadline = None if timeout_ms is None else time.monotonic() + timeout_ms / 1000
        try:
            vectors = self._encode(texts, deadline)
            for alias, mask in masks.items():
                inputs[_embedded_name(alias)] = _vectors_at(inputs.pop(alias), mask, vectors)
            feeds = {declared.handle: inputs[alias] for alias, declared in embedded.inputs.items()}
            fetches = [embedded.outputs[output.alias].handle for output in outputs]
            return [np.asarray(value) for value in self._servable.run(feeds, fetches, _milliseconds_until(deadline))]
        except RequestError as error:
            if error.code is grpc.StatusCode.INVALID_ARGUMENT:
                return None  # the signature itself refuses the request, with the names of the inputs that were sent
            raise

    def _masks(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """For each input with texts, the texts that the model reads, bool like the input.

        Empty if there are no texts, too many, or some of an invalid request.
        """
        texts = {alias: array for alias, array in inputs.items() if alias.endswith(_TEXT)}
        if sum(array.size for array in texts.values()) > _MAX_TEXTS or not any(map(np.any, texts.values())):
            return {}
        masks = {}
        for alias, array in texts.items():
            mask = self._mask(alias, array, inputs)
            if mask is None:
                return {}
            masks[alias] = mask
        return masks

    def _mask(self, alias: str, array: np.ndarray, inputs: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """None for a history whose items and texts differ in shape."""
        if not alias.startswith(_HISTORY):
            return np.ones(array.shape, bool)
        items = inputs.get(_HISTORY_ITEMS)
        if items is None or items.shape != array.shape:
            return None
        events = items != b""
        return events & (np.cumsum(events[:, ::-1], axis=1)[:, ::-1] <= self._max_history)

    def _encode(self, texts: set[bytes], deadline: float | None) -> dict[bytes, np.ndarray]:
        """The vectors of texts, from the cache or the model."""
        vectors = self._cache.find(self._encoder, texts)
        # Sorted, so that the same texts make the same batch, and hence the same vectors to the last bit.
        missing = sorted(texts - vectors.keys())
        size = self._servable.max_rows or max(1, len(missing))
        for start in range(0, len(missing), size):
            batch = missing[start : start + size]
            feeds = {self._text: bytes_array(batch)}
            (encoded,) = self._servable.run(feeds, [self._vector], _milliseconds_until(deadline))
            new = dict(zip(batch, encoded, strict=True))
            self._cache.add(self._encoder, new)
            vectors |= new
        return vectors


def _vectors_at(texts: np.ndarray, mask: np.ndarray, vectors: Mapping[bytes, np.ndarray]) -> np.ndarray:
    """float32 [*texts.shape, width], zeros for empty texts and outside the mask."""
    width = len(next(iter(vectors.values())))
    array = np.zeros([*texts.shape, width], np.float32)
    for position in zip(*np.nonzero(mask), strict=True):
        if texts[position]:
            array[position] = vectors[texts[position]]
    return array


def _embedded_name(alias: str) -> str:
    return alias.removesuffix(_TEXT) + _VECTOR if alias.endswith(_TEXT) else alias


def _milliseconds_until(deadline: float | None) -> int | None:
    """None without a deadline.

    Raises:
        RequestError: it has passed.
    """
    if deadline is None:
        return None
    milliseconds = int(1000 * (deadline - time.monotonic()))
    if milliseconds <= 0:
        raise deadline_passed()
    return milliseconds
