"""Reads the examples that ingestion wrote: sequences and items before Transform."""

from __future__ import annotations

import os
from collections.abc import Iterator

import tensorflow as tf


def read(directory: str | os.PathLike[str], split: str) -> Iterator[tf.train.Example]:
    """The examples of one split; none if there is no such split.

    Args:
      directory: artifact of ingestion, which holds `Split-<name>/` for each split.
      split: its name; items have the split "all" only.
    """
    files = sorted(tf.io.gfile.glob(os.path.join(directory, f"Split-{split}", "*.gz")))
    for record in tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator():
        yield tf.train.Example.FromString(record)
