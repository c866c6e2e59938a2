"""Answers requests that contain texts, with cached vectors of these texts.

A signature such as `recommend` takes texts. A model may have a variant of it, `recommend_embedded`, that takes vectors
in place of texts, and a signature that encodes texts. The field `text_vectors` of `assets.extra/interest_towers.json`
names them. The server then answers a request with texts in two runs: first it encodes the texts that the cache lacks,
then it runs the variant. The answer is the same as from one run of the signature itself.
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

_TEXT, _VECTOR = "_text", "_text_embedding"  # suffixes of input names
_HISTORY, _HISTORY_ITEMS = "history_", "history_item_id"
# Largest number of texts of a request. A vector is fed for every event of a history, even for events that the model
# does not read. So for a very long history one run with texts is cheaper.
_MAX_TEXTS = 4096


class TextReuse:
    """Answers requests that contain texts, for one loaded version.

    Args:
        servable: the version.
        cache: the server's cache of text vectors.
        encoder: fingerprint of the version's text encoder.
        encode: name of the signature that encodes texts: `text` string [N] -> `embedding` float32 [N, width].
        embedded: name of a signature -> name of its variant, which takes `x_text_embedding` in place of each `x_text`.
        max_history: the model reads at most this many events of a history, the last ones that have an item id.

    Raises:
        KeyError: there is no such signature, input or output.
        ValueError: a signature and its variant have different inputs or outputs.
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
        """Reads the names of the signatures from the version's metadata.

        None if the metadata name no such signatures. Wrong names are logged, and the result is None too.
        """
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
        """The values of `outputs`; None if the signature itself should be run, for example if the request has no text.

        Args:
            arrays: in the order of the signature's inputs, and of their dtypes and ranks.

        Raises:
            RequestError: the graph failed, or the deadline has passed.
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
                return None  # run the signature itself: its error names the inputs as they were sent
            raise

    def _masks(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Input name -> which of its texts the model reads, a bool array of the input's shape.

        Empty if the request has no texts, has too many, or is invalid.
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
        """Which texts of one input the model reads; None for a history whose items and texts differ in shape."""
        if not alias.startswith(_HISTORY):
            return np.ones(array.shape, bool)
        items = inputs.get(_HISTORY_ITEMS)
        if items is None or items.shape != array.shape:
            return None
        events = items != b""
        return events & (np.cumsum(events[:, ::-1], axis=1)[:, ::-1] <= self._max_history)

    def _encode(self, texts: set[bytes], deadline: float | None) -> dict[bytes, np.ndarray]:
        """The vectors of texts, from the cache or from the model."""
        vectors = self._cache.find(self._encoder, texts)
        # Sorted: the same texts then form the same batch, whose vectors are equal to the last bit.
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
    """Milliseconds until the deadline; None if there is no deadline.

    Raises:
        RequestError: the deadline has passed.
    """
    if deadline is None:
        return None
    milliseconds = int(1000 * (deadline - time.monotonic()))
    if milliseconds <= 0:
        raise deadline_passed()
    return milliseconds
