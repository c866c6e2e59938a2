"""Builds the tables of a dataset from transformed examples and text embeddings."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import tensorflow as tf

from trainer.config import Config, DataConfig
from trainer.data.dataset import Dataset, DatasetPaths
from trainer.data.examples import Column, read_columns
from trainer.data.features import NUM_BUCKETS, item_features, sequence_features
from trainer.data.ragged import Ragged
from trainer.data.tables import UNKNOWN_ITEM, ItemTable, SequenceTable, TextVectors
from trainer.data.texts import load_all_texts
from trainer.data.transform_graph import SAVED_MODEL
from trainer.text.store.keys import SortedKeys
from trainer.text.store.vectors import load_vectors


def load(config: Config, paths: DatasetPaths, splits: tuple[str, ...], *, with_texts: bool = False) -> Dataset:
    """Loads the catalogue and the named splits. `train` is always loaded, because all splits use its rating scale.

    Args:
      config: the configuration.
      paths: the dataset's directories.
      splits: names of splits.
      with_texts: whether to load the texts themselves, of all splits; fine-tuning their encoder needs them.

    Raises:
      TowersError: a split is missing, or a text has no embedding.
    """
    keys, vectors, metadata = load_vectors(paths.texts)
    sorted_keys = SortedKeys(keys)
    items = _load_items(config.data, paths, sorted_keys)
    train = _with_rating_scale(_load_sequences(config.data, paths, "train", items, sorted_keys))
    tables = {"train": train}
    for split in splits:
        if split not in tables:
            table = _load_sequences(config.data, paths, split, items, sorted_keys)
            tables[split] = replace(table, rating_mean=train.rating_mean, rating_std=train.rating_std)
    texts = None
    if len(keys):
        contents = load_all_texts(config.data, paths, sorted_keys) if with_texts else None
        texts = TextVectors(vectors=vectors, encoder=metadata["encoder"], texts=contents)
    return Dataset(items=items, splits=tables, texts=texts)


def load_items(config: Config, paths: DatasetPaths) -> ItemTable:
    """Loads the catalogue only. Reads the directories of the items, of their transform graph and of the texts.

    Raises:
      TowersError: there are no items, or a text has no embedding.
    """
    return _load_items(config.data, paths, SortedKeys(load_vectors(paths.texts).keys))


def _with_rating_scale(train: SequenceTable) -> SequenceTable:
    """The train split with the mean and the standard deviation of its ratings, if it has any."""
    if train.rating is None or not np.isfinite(train.rating).any():
        return train
    ratings = train.rating.astype(np.float64)
    mean, std = float(np.nanmean(ratings)), float(np.nanstd(ratings))
    is_constant = std <= 1e-6 * max(1.0, abs(mean))  # rounding can make the deviation of equal ratings positive
    return replace(train, rating_mean=mean, rating_std=1.0 if is_constant else std)


def _load_items(data: DataConfig, paths: DatasetPaths, keys: SortedKeys) -> ItemTable:
    columns = read_columns(paths.items, "all", item_features(data), keys)
    order = np.argsort(columns["item_id"].values, kind="stable")  # by bytes, which defines the catalogue's order
    scalars = {name: column.values[order] for name, column in columns.items() if column.is_scalar}
    vocabularies = _vocabularies(paths.item_transform)
    categorical, bucketed = _named("categorical_", scalars), _named("numeric_", scalars)
    multi_valued = {name: column.lists(order) for name, column in _named("multi_valued_", columns).items()}
    sizes = {name: len(vocabularies[f"categorical_{name}"]) + 1 for name in categorical}
    sizes |= {name: len(vocabularies[f"multi_valued_{name}"]) + 1 for name in multi_valued}
    sizes |= dict.fromkeys(bucketed, NUM_BUCKETS + 1)
    widths = data.items.dense if data.items else {}
    return ItemTable(
        item_id=_strings(scalars["item_id"]),
        title=_strings(scalars["title"]),
        text_row=scalars["text"].astype(np.int32),
        train_count=scalars["train_count"],
        occurs=scalars["occurs"].astype(bool),
        categorical=_int32(categorical),
        multi_valued={
            name: Ragged(lists.values.astype(np.int32), lists.offsets) for name, lists in multi_valued.items()
        },
        bucketed=_int32(bucketed),
        dense={name: _matrix(columns[f"dense_{name}"], width)[order] for name, width in widths.items()},
        sizes=sizes,
    )


def _load_sequences(
    data: DataConfig, paths: DatasetPaths, split: str, items: ItemTable, keys: SortedKeys
) -> SequenceTable:
    columns = read_columns(paths.sequences, split, sequence_features(data), keys)
    order = np.argsort(columns["user_id"].values, kind="stable")
    scalars = {name: column.values[order] for name, column in columns.items() if column.is_scalar}
    lists = {name: column.lists(order) for name, column in columns.items() if not column.is_scalar}
    index = {item_id: position + 1 for position, item_id in enumerate(items.item_id)}
    item_ids = lists["item_id"].values
    vocabularies = _vocabularies(paths.sequence_transform)
    profile = _named("profile_", scalars)
    context = {name: column.values for name, column in _named("context_", lists).items()}
    names = {name: vocabularies[name] for name in vocabularies if name.startswith(("profile_", "context_"))}
    sizes = {f"profile_{name}": NUM_BUCKETS + 1 for name in profile}
    sizes |= {name: len(values) + 1 for name, values in names.items()}
    if "event" in lists:
        sizes["event"] = len(vocabularies["event"]) + 1

    def values(name: str, dtype: type) -> np.ndarray | None:
        return lists[name].values.astype(dtype) if name in lists else None

    return SequenceTable(
        user_id=_strings(scalars["user_id"]),
        offsets=lists["item_id"].offsets,
        target_count=scalars["target_count"].astype(np.int32),
        item=np.fromiter((index.get(i.decode(), UNKNOWN_ITEM) for i in item_ids), np.int32, len(item_ids)),
        timestamp=lists["timestamp"].values,
        event=values("event", np.int32),
        rating=values("rating", np.float32),
        text_row=values("text", np.int32),
        query_row=values("query", np.int32),
        context=_int32(context),
        profile=_int32(profile),
        sizes=sizes,
        names=names,
    )


def _named(prefix: str, columns: dict) -> dict:
    """The columns whose names begin with the prefix, under their names without it."""
    return {name.removeprefix(prefix): value for name, value in columns.items() if name.startswith(prefix)}


def _int32(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values.astype(np.int32) for name, values in columns.items()}


def _matrix(column: Column, width: int) -> np.ndarray:
    """A column of vectors as float32 [rows, width]; zeros where a row has no vector."""
    assert column.offsets is not None
    lengths = np.diff(column.offsets)
    matrix = np.zeros((len(lengths), width), np.float32)
    matrix[lengths == width] = column.values.reshape(-1, width)
    return matrix


def _vocabularies(transform_graph: str) -> dict[str, list[str]]:
    """Name of a feature -> its values in the order of their ids, which begin at 1."""
    vocabularies = {}
    for path in tf.io.gfile.glob(os.path.join(transform_graph, SAVED_MODEL, "assets", "*")):
        with tf.io.gfile.GFile(path, "rb") as lines:
            vocabularies[os.path.basename(path)] = lines.read().decode("utf-8", errors="replace").split("\n")[:-1]
    return vocabularies


def _strings(values: np.ndarray) -> np.ndarray:
    return np.array([value.decode("utf-8") for value in values], dtype=object)
