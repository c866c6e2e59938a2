"""Sequences and items as serialized tf.Examples, and writing them as TFX has them on disk.

Features are the contract between ingestion and Transform; see `SequenceEncoder` and `encode_item`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import tensorflow as tf

from tfx_pipeline.ingest import splits, user_sequence
from tfx_pipeline.ingest.records import Feature
from trainer.files import atomic_remote_file

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

    def encode(
        self, sequence: user_sequence.Sequence, timestamps: list[int], profile: tuple | None, cuts: Sequence[splits.Cut]
    ) -> Iterator[tuple[str, bytes]]:
        """The sequence's part in each split: (split, tf.Example). The cuts' lengths ascend.

        Args:
          sequence: a user's events.
          timestamps: of each event, as they are to be written.
          profile: the user's record, if the users table has one.
          cuts: as `splits.Splitter.cuts` gives them.
        """
        example = tf.train.Example()
        feature = example.features.feature
        feature["user_id"].bytes_list.value.append(sequence.user_id)
        for (name, kind), value in zip(self._user_features, (profile or self._no_profile)[2:], strict=True):
            _set(feature[name], kind, value)
        target_count = feature["target_count"].int64_list.value
        target_count.append(0)
        columns: list[tuple[Any, Sequence]] = [
            (feature["item_id"].bytes_list.value, sequence.item_id),
            (feature["timestamp"].int64_list.value, timestamps),
        ]
        for (name, kind), column in zip(self._interaction_features, sequence.features, strict=True):
            feature_list = feature[name].bytes_list if kind == "bytes" else feature[name].float_list
            columns.append((feature_list.value, column))
        # Each part begins with the one before, so the lists only grow.
        done = 0
        for cut in cuts:
            for growing, values in columns:
                growing.extend(values[done : cut.length])
            done = cut.length
            target_count[0] = cut.target_count
            yield cut.split, example.SerializeToString(deterministic=True)


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
    with atomic_remote_file(path) as temporary, tf.io.TFRecordWriter(temporary, _GZIP) as writer:
        for example in serialized:
            writer.write(example)
    return path
