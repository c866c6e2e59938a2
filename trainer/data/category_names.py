"""The names of the items' categories, from the ingested items.

Transform replaces names by ids and knows only the names in the training catalogue. A request, however, may filter by
every name in the served catalogue.
"""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.examples import example_files, parse_examples
from trainer.data.ragged import Ragged, list_positions, offsets_of
from trainer.data.tables import ItemTable
from trainer.errors import TowersError


def load(config: Config, directory: str | os.PathLike[str], items: ItemTable) -> Ragged:
    """The category names of each item: the values of its column `serving.category`.

    Args:
      config: the configuration, with `serving.category`.
      directory: ingested items (holds `Split-all/`).
      items: the same items, transformed.

    Returns:
      object (bytes) lists, one for each item of `items` in their order. For an item without a category, the list is
      empty or holds only "".

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
    for parsed in parse_examples(example_files(directory, "all"), spec):
        ids.append(parsed["item_id"].numpy())
        names.append(parsed[feature].flat_values.numpy())
        lengths.append(parsed[feature].row_lengths().numpy())
    item_id = np.concatenate(ids)
    order = np.argsort(item_id, kind="stable")  # by bytes, which defines the catalogue's order
    if [value.decode("utf-8") for value in item_id[order]] != items.item_id.tolist():
        raise TowersError(
            f"{directory}: should hold the catalogue's {len(items)} items. Received: {len(item_id)} items, not the "
            "same ones. Run the pipeline again."
        )
    positions, offsets = list_positions(offsets_of(np.concatenate(lengths)), order)
    return Ragged(np.concatenate(names)[positions], offsets)
