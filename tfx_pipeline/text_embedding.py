"""Encodes every distinct text of a run once, in Beam, and only those that the store does not know yet.

Texts found in the store leave the pipeline as 16-byte keys at once, so that a later run shuffles new texts only. What
is left is grouped by key; a shuffle's output comes in large bundles, which is what lets chunks of thousands of texts be
sorted by length.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
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

CHUNK = 4096  # texts sorted by length and stored as one shard; what a worker loses if it dies
_LOOKUP = 4096  # texts looked up at once

# Progress of pipelines that run in this process, by their id. Other processes have nothing here and say nothing.
_listeners: dict[str, Callable[[int, float], None]] = {}

_OWN_ERROR = re.compile(r"TowersError: ([^\n]*?)(?: \[while running [^\n]*)?(?:\n|$)")


def embed_examples(
    sources: Iterable[tuple[str, Iterable[str]]],
    *,
    encoder: str,
    max_tokens: int,
    products: tf.DType,
    tokens_per_batch: int,
    store_directory: str,
    directory: str,
    make_pipeline: Callable[[], beam.Pipeline],
    on_progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Encodes the cleaned texts in tf.Examples.

    Args:
      sources: (glob of gzipped TFRecord files, names of the bytes features that hold texts).
      encoder, max_tokens, products: as `trainer.text.pretrained.load_encoder` takes them.
      tokens_per_batch: as `TextEncoder.encode_texts` takes it.
      store_directory: the store, on a file system all workers share.
      directory: where `keys.npy`, `vectors.npy` and `metadata.json` go.
      make_pipeline: makes the Beam pipeline to run in.
      on_progress: told a line now and then while texts are encoded in this process.

    Returns:
      The metadata: encoder, fingerprint, max_tokens, products, width, texts, store_hits, encoded, and seconds, which
      is encoding alone, added up over workers.

    Raises:
      TowersError: the encoder cannot be loaded, the store is damaged or the disk is full.
    """
    # What is wrong with the encoder shows before anything starts.
    _, fingerprint = describe_encoder(encoder, max_tokens, products)
    EmbeddingStore(store_directory, fingerprint)
    run = uuid.uuid4().hex
    if on_progress:
        _listeners[run] = _Reporter(on_progress)
    try:
        with make_pipeline() as pipeline:
            texts = [
                pipeline | f"Read {pattern}" >> ReadTexts(pattern, names)
                for pattern, names in ((pattern, list(names)) for pattern, names in sources)
                if names
            ]
            merged = texts | beam.Flatten(pipeline=pipeline)
            _ = merged | EmbedTexts(
                encoder=encoder,
                max_tokens=max_tokens,
                products=products,
                tokens_per_batch=tokens_per_batch,
                store_directory=store_directory,
                directory=directory,
                run=run,
            )
    except Exception as error:  # Beam adds to a message where it happened, or wraps it into another type
        own = _OWN_ERROR.search(f"{type(error).__name__}: {error}")
        if own is None:
            raise
        raise TowersError(own[1]) from error
    finally:
        _listeners.pop(run, None)
    return load_vectors(directory).metadata


def describe(metadata: dict[str, Any]) -> str:
    """One line on what `embed_examples` did: how much the store knew, and how fast the rest went."""
    texts, hits, encoded = (metadata[name] for name in ("texts", "store_hits", "encoded"))
    share = f" ({100 * hits / texts:.1f} %)" if texts else ""
    rate = f" at {encoded / max(metadata['seconds'], 1e-3):,.0f} texts/s" if encoded else ""
    return f"{texts:,} texts: {hits:,} from the store{share}, {encoded:,} encoded{rate}"


class ReadTexts(beam.PTransform):
    """Non-empty texts of tf.Examples: the named bytes features of the files that match a pattern."""

    def __init__(self, pattern: str, names: list[str]) -> None:
        super().__init__()
        self._pattern = pattern
        self._names = names

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[bytes]:
        return root | beam.io.ReadFromTFRecord(self._pattern) | beam.FlatMap(_texts_of, self._names)


class EmbedTexts(beam.PTransform):
    """Encodes a PCollection of texts and writes the table of their vectors.

    The input is PCollection[str | bytes] of texts that `trainer.text.cleaning.clean` has cleaned; repeats and empty
    texts are allowed. The output is a PCollection with the one metadata dictionary, once the table is written.

    Args: see `embed_examples`. `run` is the id that progress is reported under.
    """

    def __init__(
        self,
        *,
        encoder: str,
        max_tokens: int,
        products: tf.DType,
        tokens_per_batch: int,
        store_directory: str,
        directory: str,
        run: str = "",
    ) -> None:
        super().__init__()
        self._width, fingerprint = describe_encoder(encoder, max_tokens, products)
        self._store = (store_directory, fingerprint)
        self._directory = directory
        self._encode = _Encode((encoder, max_tokens, products.name), tokens_per_batch, self._store, run)
        self._metadata = {
            "encoder": encoder,
            "fingerprint": fingerprint,
            "max_tokens": max_tokens,
            "products": products.name,
            "width": self._width,
        }

    def expand(self, texts: beam.PCollection) -> beam.PCollection[dict[str, Any]]:
        stored = (
            texts
            | "Key" >> beam.FlatMap(_keyed)
            | "Batch lookups" >> beam.BatchElements(min_batch_size=_LOOKUP, max_batch_size=_LOOKUP)
            | "Look up" >> beam.ParDo(_LookUp(self._store)).with_outputs("new", main="found")
        )
        found = (
            stored.found
            | "Key only" >> beam.Map(lambda key: (key, None))
            | "Distinct found" >> beam.CombinePerKey(_first)  # type: ignore[arg-type]
            | "Found keys" >> beam.Keys()
            | "Collect found" >> beam.CombineGlobally(_join_keys)
        )
        encoded = (
            stored.new
            | "Distinct new" >> beam.CombinePerKey(_first)  # type: ignore[arg-type]
            | "Chunk" >> beam.BatchElements(min_batch_size=CHUNK, max_batch_size=CHUNK)
            | "Encode" >> beam.ParDo(self._encode).with_outputs("seconds", main="keys")
        )
        keys = encoded.keys | "Collect encoded" >> beam.CombineGlobally(_join_keys)
        seconds = encoded.seconds | "Add seconds" >> beam.CombineGlobally(sum)
        return (
            texts.pipeline
            | "Once" >> beam.Create([None])
            | "Write table"
            >> beam.ParDo(
                _WriteTable(self._store, self._directory, self._metadata),
                found=beam.pvalue.AsSingleton(found),
                encoded=beam.pvalue.AsSingleton(keys),
                seconds=beam.pvalue.AsSingleton(seconds),
            )
        )


class _LookUp(beam.DoFn):
    """Batches of (key, text) -> keys that are in the store; output `new`: (key, text) of the others."""

    def __init__(self, store: tuple[str, str]) -> None:
        self._store_arguments = store

    def start_bundle(self) -> None:
        self._store = EmbeddingStore(*self._store_arguments)

    def process(self, batch: list[tuple[bytes, bytes]]) -> Iterator[Any]:
        distinct = dict(batch)
        found, _ = self._store.lookup(as_array(distinct))
        for hit, item in zip(found, distinct.items(), strict=True):
            yield item[0] if hit else beam.pvalue.TaggedOutput("new", item)


class _Encode(beam.DoFn):
    """Chunks of (key, text) -> the keys, joined, once the vectors are in the store; output `seconds`: time taken."""

    def __init__(self, encoder: tuple[str, int, str], tokens_per_batch: int, store: tuple[str, str], run: str) -> None:
        self._encoder_arguments = encoder
        self._tokens_per_batch = tokens_per_batch
        self._store_arguments = store
        self._run = run
        self._shared = shared.Shared()  # one model a process, whatever the number of threads
        self._encoder: TextEncoder | None = None

    def process(self, chunk: list[tuple[bytes, bytes]]) -> Iterator[Any]:
        if self._encoder is None:  # not in `setup`: a run that has everything in the store loads no model
            name, max_tokens, products = self._encoder_arguments
            self._encoder = self._shared.acquire(
                lambda: load_encoder(name, max_tokens, tf.as_dtype(products)), tag=self._encoder_arguments
            )
        report = _listeners.get(self._run)
        start = reported_at = time.monotonic()
        reported = 0

        def progress(done: int, _: int) -> None:
            nonlocal reported_at, reported
            now = time.monotonic()
            if report:
                report(done - reported, now - reported_at)
            reported_at, reported = now, done

        keys = as_array(key for key, _ in chunk)
        vectors = self._encoder.encode_texts([text for _, text in chunk], self._tokens_per_batch, progress)
        yield beam.pvalue.TaggedOutput("seconds", time.monotonic() - start)
        EmbeddingStore(*self._store_arguments).append(keys, vectors)
        yield keys.tobytes()


class _WriteTable(beam.DoFn):
    def __init__(self, store: tuple[str, str], directory: str, metadata: dict[str, Any]) -> None:
        self._store_arguments = store
        self._directory = directory
        self._metadata = metadata

    def process(self, _: None, found: bytes, encoded: bytes, seconds: float) -> Iterator[dict[str, Any]]:
        hits, new = as_array([found]), as_array([encoded])
        keys = np.concatenate([hits, new])
        metadata = {
            **self._metadata,
            "texts": len(keys),
            "store_hits": len(hits),
            "encoded": len(new),
            "seconds": round(float(seconds), 3),
        }
        write_vectors(self._directory, keys[sort_order(keys)], EmbeddingStore(*self._store_arguments), metadata)
        yield metadata


class _Reporter:
    """Adds up what chunks report and says it, at most once a second."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._texts = 0
        self._seconds = 0.0
        self._said_at = 0.0

    def __call__(self, texts: int, seconds: float) -> None:
        self._texts += texts
        self._seconds += seconds
        if time.monotonic() - self._said_at >= 1:
            self._said_at = time.monotonic()
            self._say(f"{self._texts:,} new texts encoded, {self._texts / max(self._seconds, 1e-9):,.0f} texts/s")


def _texts_of(serialized: bytes, names: list[str]) -> Iterator[bytes]:
    features = tf.train.Example.FromString(serialized).features.feature
    for name in names:
        yield from filter(None, features[name].bytes_list.value)


def _keyed(text: str | bytes) -> Iterator[tuple[bytes, bytes]]:
    if isinstance(text, str):
        text = text.encode("utf-8")
    if text:
        yield text_key(text), text


def _first(values: Iterable[Any]) -> Any:
    return next(iter(values), None)  # of equal keys all values are equal


def _join_keys(keys: Iterable[bytes]) -> bytes:
    return b"".join(keys)
