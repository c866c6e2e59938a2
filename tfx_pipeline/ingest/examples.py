"""Sequences and items as serialized tf.Examples, and writing them as TFX has them on disk.

Features are the contract between ingestion and Transform; see `SequenceEncoder` and `encode_item`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

import apache_beam as beam
import tensorflow as tf

from tfx_pipeline.ingest.records import Feature

if TYPE_CHECKING:
    from tfx_pipeline.ingest import sequences

_GZIP = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)  # higher levels cost more than all the rest


class SequenceEncoder:
    """Encodes the parts of a sequence, one tf.Example a (user, split).

    Features; lists are aligned, one value an event: `user_id` bytes[1]; `item_id` bytes[n]; `timestamp` int64[n]
    (epoch seconds, or the order number); `target_count` int64[1] (the last so many events are the targets); one feature
    an interaction feature, n values each (`""` and NaN stand for missing); one a profile feature: bytes[1], or float[0]
    or [1].
    """

    def __init__(self, interaction_features: Sequence[Feature], user_features: Sequence[Feature]):
        self._interaction_features = interaction_features
        self._user_features = user_features
        self._no_profile = (b"", 0, *[b"" if feature.kind == "bytes" else None for feature in user_features])

    def start(self, sequence: sequences.Sequence, timestamps: list[int], profile: tuple | None) -> None:
        """Takes a user's sequence and user record; `encode` then encodes parts of it."""
        self._sequence = sequence
        self._timestamps = timestamps
        self._profile = profile or self._no_profile

    def encode(self, length: int, target_count: int) -> bytes:
        """The first `length` events, of which the last `target_count` are targets."""
        example = tf.train.Example()
        feature = example.features.feature
        feature["user_id"].bytes_list.value.append(self._sequence.user_id)
        feature["item_id"].bytes_list.value.extend(self._sequence.item_id[:length])
        feature["timestamp"].int64_list.value.extend(self._timestamps[:length])
        feature["target_count"].int64_list.value.append(target_count)
        for (name, kind), values in zip(self._interaction_features, self._sequence.features, strict=True):
            if kind == "bytes":
                feature[name].bytes_list.value.extend(values[:length])
            else:
                feature[name].float_list.value.extend(values[:length])
        for (name, kind), value in zip(self._user_features, self._profile[2:], strict=True):
            _set(feature[name], kind, value)
        return example.SerializeToString(deterministic=True)


def encode_item(
    item_id: bytes, record: tuple | None, features: Sequence[Feature], train_count: int, occurs: bool
) -> bytes:
    """An item as tf.Example: `item_id`, `title`, `text` bytes[1]; `train_count`, `occurs` int64[1]; its features.

    Without a record (the item is in no items table) the title is the id and the features are missing.
    """
    if record is None:
        record = (item_id, 0, item_id, b"", *[b"" if feature.kind == "bytes" else None for feature in features])
    example = tf.train.Example()
    feature = example.features.feature
    for name, value in (("item_id", item_id), ("title", record[2]), ("text", record[3])):
        feature[name].bytes_list.value.append(value)
    feature["train_count"].int64_list.value.append(train_count)
    feature["occurs"].int64_list.value.append(int(occurs))
    for (name, kind), value in zip(features, record[4:], strict=True):
        _set(feature[name], kind, value)
    return example.SerializeToString(deterministic=True)


def _set(feature: tf.train.Feature, kind: str, value: bytes | float | list | None) -> None:
    values = feature.bytes_list.value if kind.startswith("bytes") else feature.float_list.value
    if kind.endswith("_list"):
        values.extend(value or ())
    elif value is not None:
        values.append(value)
    if not values:  # present and empty, rather than absent
        (feature.bytes_list if kind.startswith("bytes") else feature.float_list).SetInParent()


class WriteExamples(beam.PTransform):
    """(split, shard, serialized examples) to `<directory>/Split-<split>/data_tfrecord-*.gz`, one file an element."""

    def __init__(self, directory: str, shards: int):
        super().__init__()
        self._directory = directory
        self._shards = shards

    def expand(self, examples: beam.PCollection) -> beam.PCollection:
        return examples | beam.Map(_write, self._directory, self._shards)


def _write(element: tuple[str, int, list[bytes]], directory: str, shards: int) -> str:
    split, shard, serialized = element
    folder = os.path.join(directory, f"Split-{split}")
    tf.io.gfile.makedirs(folder)
    path = os.path.join(folder, f"data_tfrecord-{shard:05d}-of-{shards:05d}.gz")
    aside = f"{path}.{uuid.uuid4().hex}.tmp"
    with tf.io.TFRecordWriter(aside, _GZIP) as writer:
        for example in serialized:
            writer.write(example)
    tf.io.gfile.rename(aside, path, overwrite=True)
    return path
