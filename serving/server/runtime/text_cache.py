"""A cache of text vectors: a recent text is not encoded again."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import numpy as np

from serving.server.monitoring.metrics import Registry

_ENTRY_OVERHEAD = 400  # bytes for a key, an array's header and an entry of the table


class TextCache:
    """Vectors by encoder and text, for all models of a server. The least recently used are removed first.

    A key is a hash of 128 bits; the texts themselves are not stored.

    Args:
        capacity: bytes that the vectors and their keys may take.
        registry: gets the metrics `/towers/serving/text_cache/lookups`, by result (hit or miss), and
            `/towers/serving/text_cache/bytes`. A text that occurs several times in a call counts as one lookup.
    """

    def __init__(self, capacity: int, registry: Registry) -> None:
        self._capacity = capacity
        self._lookups = registry.counter("/towers/serving/text_cache/lookups", ("result",))
        registry.gauge("/towers/serving/text_cache/bytes", lambda: self._bytes)
        self._lock = threading.Lock()
        self._vectors: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._bytes = 0

    def find(self, encoder: str, texts: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """The cached vectors, by text.

        Args:
            encoder: fingerprint of the encoder.
            texts: distinct texts.
        """
        keys = {text: _key(encoder, text) for text in texts}
        cached = {}
        with self._lock:
            for text, key in keys.items():
                vector = self._vectors.get(key)
                if vector is not None:
                    self._vectors.move_to_end(key)
                    cached[text] = vector
        # Both are added, even if zero, so that Prometheus sees both from the first call on.
        self._lookups.add("hit", by=len(cached))
        self._lookups.add("miss", by=len(keys) - len(cached))
        return cached

    def add(self, encoder: str, vectors: Mapping[bytes, np.ndarray]) -> None:
        """Adds vectors by text. Removes the least recently used ones if the capacity is exceeded."""
        # Copies, because a row would keep its whole batch alive.
        new = {_key(encoder, text): vector.copy() for text, vector in vectors.items()}
        with self._lock:
            for key, vector in new.items():
                if key not in self._vectors:
                    self._bytes += vector.nbytes + _ENTRY_OVERHEAD
                self._vectors[key] = vector
            while self._bytes > self._capacity:
                _, oldest = self._vectors.popitem(last=False)
                self._bytes -= oldest.nbytes + _ENTRY_OVERHEAD


def _key(encoder: str, text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16, key=encoder.encode()[:64]).digest()
