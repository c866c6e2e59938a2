"""Sequences and items as serialized tf.Examples, and the files that TFX reads them from.

The features are the contract between ingestion and Transform: see `SequenceEncoder` and `encode_item`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import tensorflow as tf

from tfx_pipeline.ingest import splits, user_sequence
from trainer.config import DataConfig
from trainer.data.features import Feature, interaction_features, profile_features
from trainer.files import atomic_remote_file

_GZIP = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)  # higher levels cost more than all the rest


class SequenceEncoder:
    """Encodes the parts of a sequence, one tf.Example a (user, split).

    Features of a sequence with n events; lists of n values are in the order of the events:

      `user_id`: bytes[1]
      `item_id`: bytes[n]
      `timestamp`: int64[n], epoch seconds, or the order number
      `target_count`: int64[1], the number of last events that are targets
      each interaction feature: bytes[n] or float[n]; "" and NaN stand for missing values
      each profile feature: bytes[1], or float[0] (missing) or float[1]
    """

    def __init__(self, config: DataConfig):
        self._interaction_features = interaction_features(config)
        self._profile_features = profile_features(config)
        self._no_profile = (b"", 0, *map(_missing_value, self._profile_features))

    def encode(
        self, sequence: user_sequence.Sequence, timestamps: list[int], profile: tuple | None, cuts: Sequence[splits.Cut]
    ) -> Iterator[tuple[str, bytes]]:
        """The sequence's part in each split: (split, tf.Example).

        Args:
          sequence: a user's events.
          timestamps: the `timestamp` of each event.
          profile: the user's record, None if the users table has none.
          cuts: as `splits.Splitter.cuts` returns them; their lengths ascend.
        """
        example = tf.train.Example()
        feature = example.features.feature
        feature["user_id"].bytes_list.value.append(sequence.user_id)
        for profile_feature, value in zip(self._profile_features, (profile or self._no_profile)[2:], strict=True):
            _set(feature[profile_feature.name], profile_feature.kind, value)
        target_count = feature["target_count"].int64_list.value
        target_count.append(0)
        columns: list[tuple[Any, Sequence]] = [
            (feature["item_id"].bytes_list.value, sequence.item_id),
            (feature["timestamp"].int64_list.value, timestamps),
        ]
        for event_feature, column in zip(self._interaction_features, sequence.features, strict=True):
            columns.append((_values(feature[event_feature.name], event_feature.kind), column))
        # Each part begins with the one before, so the lists only grow.
        length = 0
        for cut in cuts:
            for values, event_values in columns:
                values.extend(event_values[length : cut.length])
            length = cut.length
            target_count[0] = cut.target_count
            yield cut.split, example.SerializeToString(deterministic=True)


def encode_item(
    item_id: bytes, record: tuple | None, features: Sequence[Feature], train_count: int, event_count: int
) -> bytes:
    """An item as tf.Example: `item_id`, `title`, `text` bytes[1]; `train_count`, `occurs` int64[1]; its features.

    Args:
      item_id: its id.
      record: its record; None if the items table has none: the title is then the id, and the features are missing.
      features: those of the record, as `trainer.data.features.item_column_features` returns them.
      train_count: number of events in the train split.
      event_count: number of events in all splits; `occurs` is 1 if there are any.
    """
    if record is None:
        record = (item_id, 0, item_id, b"", *map(_missing_value, features))
    example = tf.train.Example()
    example_feature = example.features.feature
    for name, value in (("item_id", item_id), ("title", record[2]), ("text", record[3])):
        example_feature[name].bytes_list.value.append(value)
    example_feature["train_count"].int64_list.value.append(train_count)
    example_feature["occurs"].int64_list.value.append(int(event_count > 0))
    for feature, value in zip(features, record[4:], strict=True):
        _set(example_feature[feature.name], feature.kind, value)
    return example.SerializeToString(deterministic=True)


def _missing_value(feature: Feature) -> bytes | None:
    return b"" if feature.scalar else None


def _values(feature: tf.train.Feature, kind: str) -> Any:
    return feature.bytes_list.value if kind == "bytes" else feature.float_list.value


def _set(feature: tf.train.Feature, kind: str, value: bytes | float | list | None) -> None:
    values = _values(feature, kind)
    if isinstance(value, list):
        values.extend(value)
    elif value is not None:
        values.append(value)
    if not values:  # present and empty, rather than absent
        (feature.bytes_list if kind == "bytes" else feature.float_list).SetInParent()


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
