"""Reads transformed tf.Examples into columns of numpy arrays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.data.features import TEXT_FEATURES, Feature
from trainer.data.ragged import Ragged, list_positions, offsets_of
from trainer.errors import TowersError
from trainer.text.store.keys import SortedKeys
from trainer.text.store.vectors import rows_of

ALL_SPLITS = "*"
_EXAMPLES_AT_ONCE = 512
_ID_PREFIXES = ("event", "context_", "profile_", "categorical_", "multi_valued_", "numeric_")  # ints after Transform

Spec = dict[str, tf.io.FixedLenFeature | tf.io.RaggedFeature]


@dataclass(frozen=True)
class Column:
    """A feature of all examples. Each example has one value of it, or each has a list of values."""

    values: np.ndarray  # [examples], or all lists one after another
    offsets: np.ndarray | None  # int64 [examples + 1], of the lists; None: one value in each example

    @property
    def is_scalar(self) -> bool:
        return self.offsets is None

    def lists(self, order: np.ndarray) -> Ragged:
        """The lists of the examples with these numbers, int64 [n], in this order."""
        assert self.offsets is not None
        positions, offsets = list_positions(self.offsets, order)
        return Ragged(self.values[positions], offsets)


def example_files(directory: str | os.PathLike[str], split: str) -> list[str]:
    """The files of a split's examples, sorted by path; for `ALL_SPLITS` the files of all splits."""
    return sorted(tf.io.gfile.glob(os.path.join(directory, f"Split-{split}", "*.gz")))


def parse_examples(files: list[str], spec: Spec) -> Iterator[dict[str, tf.Tensor | tf.RaggedTensor]]:
    """Parses the examples in compressed files, some hundred at a time."""
    for records in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_EXAMPLES_AT_ONCE):
        yield tf.io.parse_example(records, spec)


def parsing_spec(features: list[Feature]) -> Spec:
    """How to parse these features in transformed examples."""
    return {feature.transformed_key: _parsing(feature) for feature in features}


def flat_values(value: tf.Tensor | tf.RaggedTensor) -> np.ndarray:
    """All values of a parsed feature, example after example."""
    return (value.flat_values if isinstance(value, tf.RaggedTensor) else value).numpy().reshape(-1)


def read_columns(directory: str, split: str, features: list[Feature], keys: SortedKeys) -> dict[str, Column]:
    """Reads a split of transformed examples: name of the feature -> column.

    Texts are replaced by their rows among the text embeddings (`keys`) batch by batch: they are never all in memory.

    Raises:
      TowersError: the directory has no examples of this split, or a text has no embedding.
    """
    files = example_files(directory, split)
    if not files:
        raise TowersError(f"{directory}: has no examples of split `{split}`. Run the pipeline's Transform step again.")
    chunks: dict[str, list[np.ndarray]] = {feature.name: [] for feature in features}
    lengths: dict[str, list[np.ndarray]] = {feature.name: [] for feature in features}
    for parsed in parse_examples(files, parsing_spec(features)):
        for feature in features:
            value = parsed[feature.transformed_key]
            if isinstance(value, tf.RaggedTensor):
                lengths[feature.name].append(value.row_lengths().numpy())
            flat = flat_values(value)
            chunks[feature.name].append(rows_of(keys, flat) if feature.name in TEXT_FEATURES else flat)
    return {name: _joined(chunks[name], lengths[name]) for name in chunks}


def _joined(chunks: list[np.ndarray], lengths: list[np.ndarray]) -> Column:
    values = np.concatenate(chunks) if chunks else np.zeros(0)
    return Column(values, offsets_of(np.concatenate(lengths)) if lengths else None)


def _parsing(feature: Feature) -> tf.io.FixedLenFeature | tf.io.RaggedFeature:
    dtype = {"bytes": tf.string, "int": tf.int64, "float": tf.float32}[feature.kind]
    if feature.name.startswith(_ID_PREFIXES):
        dtype = tf.int64
    if feature.scalar or feature.is_bucketed:
        return tf.io.FixedLenFeature([1], dtype)
    return tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
