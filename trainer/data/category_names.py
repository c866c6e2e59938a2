"""The items' categories by their names, as ingestion read them in the items table.

Transform makes ids of them, and knows those names alone that the training's catalogue had, on one line each. What a
request may name is every one that the served catalogue has.
"""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.ragged import Ragged, list_positions, offsets_of
from trainer.data.tables import ItemTable
from trainer.errors import TowersError

_PARSE_BATCH = 512


def load(config: Config, directory: str | os.PathLike[str], items: ItemTable) -> Ragged:
    """Names in the column `serving.category` of the items table.

    Args:
      config: the configuration, with `serving.category`.
      directory: ingested items (holds `Split-all/`).
      items: the same items, transformed.

    Returns:
      object (bytes) lists, one an item of `items`, in their order; an item without a category may have "" or no name.

    Raises:
      TowersError: the directory holds other items.
    """
    column, table = config.serving.category, config.data.items
    assert column is not None
    assert table is not None
    feature = f"categorical_{column}" if column in table.categorical else f"multi_valued_{column}"
    spec = {
        "item_id": tf.io.FixedLenFeature([], tf.string),
        feature: tf.io.RaggedFeature(tf.string, row_splits_dtype=tf.int64),
    }
    ids, names, lengths = [np.zeros(0, object)], [np.zeros(0, object)], [np.zeros(0, np.int64)]
    files = sorted(tf.io.gfile.glob(os.path.join(directory, "Split-all", "*.gz")))
    for records in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_PARSE_BATCH):
        parsed = tf.io.parse_example(records, spec)
        ids.append(parsed["item_id"].numpy())
        names.append(parsed[feature].flat_values.numpy())
        lengths.append(parsed[feature].row_lengths().numpy())
    item_id = np.concatenate(ids)
    order = np.argsort(item_id, kind="stable")  # of bytes, as the catalogue's order is defined
    if [found.decode("utf-8") for found in item_id[order]] != items.item_id.tolist():
        raise TowersError(
            f"{directory}: should hold the catalogue's {len(items)} items. Received: {len(item_id)} items, not all of "
            "them the catalogue's. Run the pipeline again."
        )
    positions, offsets = list_positions(offsets_of(np.concatenate(lengths)), order)
    return Ragged(np.concatenate(names)[positions], offsets)
