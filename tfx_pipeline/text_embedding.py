"""Encodes every distinct text of a run in Beam, unless its vector is already in the store.

Texts are first looked up in the store. A stored text is replaced by its 16-byte key, so only new texts are shuffled.
Grouping new texts by key removes repeats and yields large bundles, which are cut into chunks of CHUNK_SIZE texts. The
encoder sorts the texts of a chunk by length, which saves padding.
"""

from __future__ import annotations

import functools
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.utils import shared

from trainer.errors import TowersError
from trainer.text.encoder import TextEncoder
from trainer.text.pretrained import describe_encoder, load_encoder
from trainer.text.store.embedding_store import EmbeddingStore
from trainer.text.store.keys import as_array, sort_order, text_key
from trainer.text.store.vectors import load_vectors, write_vectors

CHUNK_SIZE = 4096  # texts that are encoded and stored together; a worker that dies loses one chunk
LOOKUP_SIZE = 4096  # texts of one lookup in the store

# run id -> reporter, of pipelines that run in this process. Workers in other processes have none and do not report.
_reporters: dict[str, _ProgressReporter] = {}

_TOWERS_ERROR = re.compile(r"TowersError: ([^\n]*?)(?: \[while running [^\n]*)?(?:\n|$)")

OpenStore = Callable[[], EmbeddingStore]


@dataclass(frozen=True)
class TextEncoding:
    """How texts are encoded, and where their vectors are stored.

    Attributes:
      encoder, max_tokens, products: as `trainer.text.pretrained.load_encoder` takes them.
      tokens_per_batch: as `TextEncoder.encode_texts` takes it.
      store_directory: of the store, on a file system that all workers share.
    """

    encoder: str
    max_tokens: int
    products: tf.DType
    tokens_per_batch: int
    store_directory: str

    def describe(self) -> tuple[int, str]:
        """Width and fingerprint of the encoder; raises as `describe_encoder`."""
        return describe_encoder(self.encoder, self.max_tokens, self.products)

    def load(self) -> TextEncoder:
        return load_encoder(self.encoder, self.max_tokens, self.products)


def embed_examples(
    sources: Iterable[tuple[str, list[str]]],
    encoding: TextEncoding,
    directory: str,
    make_pipeline: Callable[[], beam.Pipeline],
    on_progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Encodes the cleaned texts in tf.Examples and writes the table of their vectors.

    Args:
      sources: (glob of gzipped TFRecord files, names of the bytes features that hold texts).
      encoding: encoder and store.
      directory: where `keys.npy`, `vectors.npy` and `metadata.json` are written.
      make_pipeline: makes the Beam pipeline to run in.
      on_progress: called with a line about the progress, at most once a second, if texts are encoded in this process.

    Returns:
      The metadata: encoder, fingerprint, max_tokens, products, width, texts, store_hits, encoded, and seconds (of
      encoding alone, summed over workers).

    Raises:
      TowersError: the encoder cannot be loaded, the store is damaged, or the disk is full.
    """
    # A faulty encoder or a damaged store is reported before the pipeline starts.
    _, fingerprint = encoding.describe()
    EmbeddingStore(encoding.store_directory, fingerprint)
    run = uuid.uuid4().hex
    if on_progress:
        _reporters[run] = _ProgressReporter(on_progress)
    try:
        with make_pipeline() as pipeline:
            texts = [pipeline | f"Read {pattern}" >> ReadTexts(pattern, names) for pattern, names in sources if names]
            merged = texts | beam.Flatten(pipeline=pipeline)
            _ = merged | EmbedTexts(encoding, directory, run)
    except Exception as error:
        message = _towers_error_message(error)
        if message is None:
            raise
        raise TowersError(message) from error
    finally:
        _reporters.pop(run, None)
    return load_vectors(directory).metadata


def describe(metadata: dict[str, Any]) -> str:
    """One line: the number of texts, how many the store had, and how fast the others were encoded."""
    texts, hits, encoded = (metadata[name] for name in ("texts", "store_hits", "encoded"))
    share = f" ({100 * hits / texts:.1f} %)" if texts else ""
    rate = f" at {encoded / max(metadata['seconds'], 1e-3):,.0f} texts/s" if encoded else ""
    return f"{texts:,} texts: {hits:,} from the store{share}, {encoded:,} encoded{rate}"


def _towers_error_message(error: Exception) -> str | None:
    """The message of a TowersError that Beam raised as another type or with the step's name added; else None."""
    match = _TOWERS_ERROR.search(f"{type(error).__name__}: {error}")
    return match[1] if match else None


class ReadTexts(beam.PTransform):
    """Reads the non-empty texts of tf.Examples.

    Args:
      pattern: glob of TFRecord files.
      names: of the bytes features that hold texts.
    """

    def __init__(self, pattern: str, names: list[str]) -> None:
        super().__init__()
        self._pattern = pattern
        self._names = names

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[bytes]:
        return root | beam.io.ReadFromTFRecord(self._pattern) | beam.FlatMap(_texts_of_example, self._names)


class EmbedTexts(beam.PTransform):
    """Encodes a PCollection of texts and writes the table of their vectors.

    The input is PCollection[str | bytes] of texts that `trainer.text.cleaning.clean` has cleaned; repeated and empty
    texts are allowed. The output is a PCollection of one element, the metadata, once the table is written.

    Args:
      encoding, directory: see `embed_examples`.
      run: id under which progress is reported.
    """

    def __init__(self, encoding: TextEncoding, directory: str, run: str = "") -> None:
        super().__init__()
        width, fingerprint = encoding.describe()
        self._open_store = functools.partial(EmbeddingStore, encoding.store_directory, fingerprint)
        self._encode = _EncodeAndStore(encoding, self._open_store, run)
        self._directory = directory
        self._metadata = {
            "encoder": encoding.encoder,
            "fingerprint": fingerprint,
            "max_tokens": encoding.max_tokens,
            "products": encoding.products.name,
            "width": width,
        }

    def expand(self, texts: beam.PCollection) -> beam.PCollection[dict[str, Any]]:
        lookup = (
            texts
            | "Key" >> beam.FlatMap(_with_key)
            | "Batch lookups" >> beam.BatchElements(min_batch_size=LOOKUP_SIZE, max_batch_size=LOOKUP_SIZE)
            | "Look up" >> beam.ParDo(_LookUp(self._open_store)).with_outputs("new_texts", main="stored_keys")
        )
        stored_keys = (
            lookup.stored_keys
            | "Stored key to pair" >> beam.Map(lambda key: (key, None))
            | "Distinct stored keys" >> beam.CombinePerKey(_first)  # type: ignore[arg-type]
            | "Stored keys" >> beam.Keys()
            | "Join stored keys" >> beam.CombineGlobally(_join)
        )
        encoded = (
            lookup.new_texts
            | "Distinct new texts" >> beam.CombinePerKey(_first)  # type: ignore[arg-type]
            | "Chunk" >> beam.BatchElements(min_batch_size=CHUNK_SIZE, max_batch_size=CHUNK_SIZE)
            | "Encode" >> beam.ParDo(self._encode).with_outputs("seconds", main="keys")
        )
        encoded_keys = encoded.keys | "Join encoded keys" >> beam.CombineGlobally(_join)
        seconds = encoded.seconds | "Add seconds" >> beam.CombineGlobally(sum)
        return (
            texts.pipeline
            | "Once" >> beam.Create([None])
            | "Write table"
            >> beam.ParDo(
                _WriteTable(self._open_store, self._directory, self._metadata),
                stored_keys=beam.pvalue.AsSingleton(stored_keys),
                encoded_keys=beam.pvalue.AsSingleton(encoded_keys),
                seconds=beam.pvalue.AsSingleton(seconds),
            )
        )


class _LookUp(beam.DoFn):
    """Looks up batches of (key, text). Outputs the keys that the store has; `new_texts`: (key, text) of the others."""

    def __init__(self, open_store: OpenStore) -> None:
        self._open_store = open_store

    def start_bundle(self) -> None:
        self._store = self._open_store()

    def process(self, batch: list[tuple[bytes, bytes]]) -> Iterator[Any]:
        texts = dict(batch)  # by key
        is_stored, _ = self._store.lookup(as_array(texts))
        for stored, (key, text) in zip(is_stored, texts.items(), strict=True):
            yield key if stored else beam.pvalue.TaggedOutput("new_texts", (key, text))


class _EncodeAndStore(beam.DoFn):
    """Encodes and stores chunks of (key, text). Outputs the keys of a chunk, concatenated; `seconds`: encoding time."""

    def __init__(self, encoding: TextEncoding, open_store: OpenStore, run: str) -> None:
        self._encoding = encoding
        self._open_store = open_store
        self._run = run
        self._shared = shared.Shared()  # one encoder a process, whatever the number of threads
        self._encoder: TextEncoder | None = None

    def process(self, chunk: list[tuple[bytes, bytes]]) -> Iterator[Any]:
        if self._encoder is None:  # not in `setup`, which would load it even if the store has all texts
            self._encoder = self._shared.acquire(self._encoding.load, tag=self._encoding)
        reporter = _reporters.get(self._run)
        progress = reporter.of_chunk() if reporter else None
        start = time.monotonic()
        texts = [text for _, text in chunk]
        vectors = self._encoder.encode_texts(texts, self._encoding.tokens_per_batch, progress)
        yield beam.pvalue.TaggedOutput("seconds", time.monotonic() - start)
        keys = as_array(key for key, _ in chunk)
        self._open_store().append(keys, vectors)
        yield keys.tobytes()


class _WriteTable(beam.DoFn):
    """Writes the table of all vectors, for the single element of its input, and outputs the metadata."""

    def __init__(self, open_store: OpenStore, directory: str, metadata: dict[str, Any]) -> None:
        self._open_store = open_store
        self._directory = directory
        self._metadata = metadata

    def process(self, _: None, stored_keys: bytes, encoded_keys: bytes, seconds: float) -> Iterator[dict[str, Any]]:
        stored, encoded = as_array([stored_keys]), as_array([encoded_keys])
        keys = np.concatenate([stored, encoded])
        metadata = {
            **self._metadata,
            "texts": len(keys),
            "store_hits": len(stored),
            "encoded": len(encoded),
            "seconds": round(float(seconds), 3),
        }
        write_vectors(self._directory, keys[sort_order(keys)], self._open_store(), metadata)
        yield metadata


class _ProgressReporter:
    """Sums the progress of all chunks and reports it as a line, at most once a second."""

    def __init__(self, on_progress: Callable[[str], None]) -> None:
        self._on_progress = on_progress
        self._texts = 0
        self._seconds = 0.0
        self._reported_at = 0.0

    def of_chunk(self) -> Callable[[int, int], None]:
        """A `progress` function for one call of `TextEncoder.encode_texts`."""
        last_done, last_time = 0, time.monotonic()

        def progress(done: int, _: int) -> None:
            nonlocal last_done, last_time
            now = time.monotonic()
            self._add(done - last_done, now - last_time)
            last_done, last_time = done, now

        return progress

    def _add(self, texts: int, seconds: float) -> None:
        self._texts += texts
        self._seconds += seconds
        if time.monotonic() - self._reported_at >= 1:
            self._reported_at = time.monotonic()
            rate = self._texts / max(self._seconds, 1e-9)
            self._on_progress(f"{self._texts:,} new texts encoded, {rate:,.0f} texts/s")


def _texts_of_example(serialized: bytes, names: list[str]) -> Iterator[bytes]:
    features = tf.train.Example.FromString(serialized).features.feature
    for name in names:
        yield from filter(None, features[name].bytes_list.value)


def _with_key(text: str | bytes) -> Iterator[tuple[bytes, bytes]]:
    if isinstance(text, str):
        text = text.encode("utf-8")
    if text:
        yield text_key(text), text


def _first(values: Iterable[Any]) -> Any:
    return next(iter(values), None)  # all values of a key are equal


def _join(keys: Iterable[bytes]) -> bytes:
    return b"".join(keys)
