"""Requests with texts, answered from vectors of the texts.

A model may have a signature that takes vectors in place of another signature's texts, and say so in
`assets.extra/interest_towers.json`. A request with texts is then answered in two runs, `encode` for the texts that the
cache does not know and `embedded` for the rest, with the same answer.
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

_TEXT, _VECTOR = "_text", "_text_embedding"
_HISTORY, _HISTORY_ITEMS = "history_", "history_item_id"
# Vectors are fed for every event that a client sends, and for most of a very long history in vain.
_MOST_PLACES = 4096


class TextReuse:
    """How one loaded version answers requests with texts.

    Args:
        servable: the version.
        cache: of the whole server.
        encoder: fingerprint of what encodes the version's texts.
        encode: name of the signature that does, `text` string [N] -> `embedding` float32 [N, width].
        embedded: signature -> the one that takes `x_text_embedding` for each of its `x_text`.
        max_history: so many last events of a history are read, those with an item id.

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
        encodes = servable.signatures[encode]
        self._text, self._vector = encodes.inputs["text"].handle, encodes.outputs["embedding"].handle
        self._embedded = {key: servable.signatures[other] for key, other in embedded.items()}
        self._max_history = max_history
        for key, other in self._embedded.items():
            given = servable.signatures[key]
            inputs = {_embedded_name(alias) for alias in given.inputs}
            if inputs != set(other.inputs) or not set(given.outputs) <= set(other.outputs):
                raise ValueError(f"`{other.key}` should take and give what `{key}` does, but for the texts")

    @classmethod
    def from_metadata(cls, servable: Servable, directory: Path, cache: TextCache) -> TextReuse | None:
        """As the version's metadata say; None if they say nothing."""
        path = directory / METADATA
        try:
            said = json.loads(path.read_text(encoding="utf-8")).get("text_vectors") if path.exists() else None
            return cls(servable, cache, **said) if said else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s: texts of %s are not kept: %s", path, servable.name, error)
            return None

    def run(
        self, signature: Signature, arrays: Sequence[np.ndarray], outputs: Sequence[Output], timeout_ms: int | None
    ) -> list[np.ndarray] | None:
        """The outputs, or None where the request has no text, or is one for the signature itself to answer.

        Args:
            arrays: of the signature's dtypes and ranks, in the order of its inputs.

        Raises:
            RequestError: the graph failed.
        """
        embedded = self._embedded.get(signature.key)
        if embedded is None:
            return None
        named = dict(zip(signature.inputs, arrays, strict=True))
        texts = {alias: array for alias, array in named.items() if alias.endswith(_TEXT)}
        if sum(array.size for array in texts.values()) > _MOST_PLACES or not any(map(np.any, texts.values())):
            return None
        read = {}
        for alias, array in texts.items():
            where = self._read(alias, array, named)
            if where is None:
                return None
            read[alias] = where
        wanted = {text for alias, where in read.items() for text in texts[alias][where].tolist()} - {b""}
        if not wanted:
            return None
        deadline = None if timeout_ms is None else time.monotonic() + timeout_ms / 1000
        try:
            vectors = self._vectors(wanted, deadline)
            for alias, where in read.items():
                named[_embedded_name(alias)] = _filled(named.pop(alias), where, vectors)
            feeds = {declared.handle: named[alias] for alias, declared in embedded.inputs.items()}
            fetches = [embedded.outputs[output.alias].handle for output in outputs]
            return [np.asarray(value) for value in self._servable.run(feeds, fetches, _left(deadline))]
        except RequestError as error:
            if error.code is grpc.StatusCode.INVALID_ARGUMENT:
                return None  # what is wrong is said of the inputs that were sent
            raise

    def _read(self, alias: str, array: np.ndarray, named: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """Where the texts stand that the model reads, bool like `array`; None if that cannot be said."""
        if not alias.startswith(_HISTORY):
            return np.ones(array.shape, bool)
        items = named.get(_HISTORY_ITEMS)
        if items is None or items.shape != array.shape:
            return None
        events = items != b""
        return events & (np.cumsum(events[:, ::-1], axis=1)[:, ::-1] <= self._max_history)

    def _vectors(self, texts: set[bytes], deadline: float | None) -> dict[bytes, np.ndarray]:
        vectors = self._cache.find(self._encoder, texts)
        # Sorted, so that the same texts make the same batch, and with it the same vectors to the last bit.
        missing = sorted(texts - vectors.keys())
        size = self._servable.max_rows or max(1, len(missing))
        for start in range(0, len(missing), size):
            part = missing[start : start + size]
            (encoded,) = self._servable.run({self._text: bytes_array(part)}, [self._vector], _left(deadline))
            new = dict(zip(part, encoded, strict=True))
            self._cache.add(self._encoder, new)
            vectors |= new
        return vectors


def _filled(texts: np.ndarray, where: np.ndarray, vectors: Mapping[bytes, np.ndarray]) -> np.ndarray:
    """float32 [*texts.shape, width], zeros where no text is read."""
    width = len(next(iter(vectors.values())))
    filled = np.zeros([*texts.shape, width], np.float32)
    for place in zip(*np.nonzero(where), strict=True):
        if texts[place]:
            filled[place] = vectors[texts[place]]
    return filled


def _embedded_name(alias: str) -> str:
    return alias.removesuffix(_TEXT) + _VECTOR if alias.endswith(_TEXT) else alias


def _left(deadline: float | None) -> int | None:
    """Milliseconds until then.

    Raises:
        RequestError: it has passed.
    """
    if deadline is None:
        return None
    left = int(1000 * (deadline - time.monotonic()))
    if left <= 0:
        raise deadline_passed()
    return left
