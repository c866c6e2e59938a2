"""Reads what Transform and the text embedding step wrote into the tables of `trainer.data.tables`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from trainer.config import Config, DataConfig
from trainer.data.features import NUM_BUCKETS, TEXT_FEATURES, Feature, item_features, sequence_features
from trainer.data.ragged import Ragged, list_positions, offsets_of
from trainer.data.tables import UNKNOWN_ITEM, ItemTable, SequenceTable, TextVectors
from trainer.errors import TowersError
from trainer.text.languages import languages
from trainer.text.store.keys import SortedKeys
from trainer.text.store.vectors import load_vectors, rows_of

_PARSE_BATCH = 512
_ID_PREFIXES = ("event", "context_", "profile_", "categorical_", "multi_valued_", "numeric_")  # ints after Transform


@dataclass(frozen=True)
class DatasetPaths:
    """Where the pipeline's steps left a dataset; each is an artifact's directory."""

    sequences: str  # transformed examples, Split-<name> inside
    items: str
    sequence_transform: str  # transform graphs
    item_transform: str
    texts: str  # text embeddings


@dataclass(frozen=True)
class Dataset:
    """Everything a model is trained and evaluated on."""

    items: ItemTable
    splits: dict[str, SequenceTable]
    texts: TextVectors | None  # None: nothing in the data is text

    @property
    def train(self) -> SequenceTable:
        return self.splits["train"]


def load(config: Config, paths: DatasetPaths, splits: tuple[str, ...], *, with_texts: bool = False) -> Dataset:
    """Loads the catalogue and the named splits; `train` is always among them, for its rating scale.

    Args:
      config: the configuration.
      paths: where the dataset lies.
      splits: their names.
      with_texts: whether the texts themselves come too, those of all splits: what training their encoder takes.

    Raises:
      TowersError: a split is missing, or a text has no embedding.
    """
    keys, vectors, metadata = load_vectors(paths.texts)
    sorted_keys = SortedKeys(keys)
    items = _load_items(config.data, paths, sorted_keys)
    train = _load_sequences(config.data, paths, "train", items, sorted_keys)
    if train.rating is not None and np.isfinite(train.rating).any():
        mean, spread = (float(of(train.rating.astype(np.float64))) for of in (np.nanmean, np.nanstd))
        varied = spread > 1e-6 * max(1.0, abs(mean))  # a constant may differ from itself by how it is rounded
        train = replace(train, rating_mean=mean, rating_std=spread if varied else 1.0)
    tables = {"train": train}
    for split in splits:
        if split not in tables:
            table = _load_sequences(config.data, paths, split, items, sorted_keys)
            tables[split] = replace(table, rating_mean=train.rating_mean, rating_std=train.rating_std)
    texts = None
    if len(keys):
        written = _load_texts(config.data, paths, sorted_keys) if with_texts else None
        texts = TextVectors(vectors=vectors, encoder=metadata["encoder"], texts=written)
    return Dataset(items=items, splits=tables, texts=texts)


def load_items(config: Config, paths: DatasetPaths) -> ItemTable:
    """Loads the catalogue alone; of the paths, those of the items, their transform graph and the texts are read.

    Raises:
      TowersError: there are no items, or a text has no embedding.
    """
    return _load_items(config.data, paths, SortedKeys(load_vectors(paths.texts).keys))


def load_languages(config: Config, paths: DatasetPaths) -> np.ndarray | None:
    """The language of every text that has a row, see `trainer.text.languages`: object (str) [rows]; None without texts.

    Raises:
      TowersError: there are no examples.
    """
    keys = SortedKeys(load_vectors(paths.texts).keys)
    if not len(keys):
        return None
    found = np.full(len(keys), "", object)
    for rows, texts in _texts_with_rows(config.data, paths, keys):  # of the texts themselves a few are in memory
        new = found[rows] == ""
        found[rows[new]] = languages(texts[new])
    return found


def load_some_texts(config: Config, paths: DatasetPaths, rows: np.ndarray) -> dict[int, str]:
    """Some texts as the encoder reads them (cleaned): row -> text."""
    wanted = set(rows.tolist())
    found: dict[int, str] = {}
    if wanted:
        keys = SortedKeys(load_vectors(paths.texts).keys)
        for some, texts in _texts_with_rows(config.data, paths, keys):
            for row, text in zip(some.tolist(), texts, strict=True):
                if row in wanted:
                    found[row] = text.decode("utf-8", errors="replace")
    return found


def _load_texts(data: DataConfig, paths: DatasetPaths, keys: SortedKeys) -> np.ndarray:
    """Every text that has a row, of items and of all splits: object (bytes) [rows]."""
    texts = np.full(len(keys), None, object)
    for rows, written in _texts_with_rows(data, paths, keys):
        texts[rows] = written
    missing = sum(text is None for text in texts)
    if missing:
        raise TowersError(
            f"{paths.texts}: {missing} of {len(texts)} texts are in no example of this run. Run the pipeline again."
        )
    return texts


def _texts_with_rows(
    data: DataConfig, paths: DatasetPaths, keys: SortedKeys
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Texts that have a row, of items and of all splits, some at a time: int64 [m], object (bytes) [m]."""
    for directory, features in ((paths.items, item_features(data)), (paths.sequences, sequence_features(data))):
        written = [feature for feature in features if feature.name in TEXT_FEATURES]
        spec = {feature.transformed_key: _parsing(feature) for feature in written}
        files = sorted(tf.io.gfile.glob(os.path.join(directory, "Split-*", "*.gz"))) if spec else []
        for records in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_PARSE_BATCH):
            for value in tf.io.parse_example(records, spec).values():
                flat = (value.flat_values if isinstance(value, tf.RaggedTensor) else value).numpy().reshape(-1)
                rows = rows_of(keys, flat)
                yield rows[rows >= 0], flat[rows >= 0]


def _load_items(data: DataConfig, paths: DatasetPaths, keys: SortedKeys) -> ItemTable:
    features = item_features(data)
    columns = _read(paths.items, "all", features, keys)
    order = np.argsort(columns["item_id"].values, kind="stable")  # of bytes, as the catalogue's order is defined
    scalars = {name: column.values[order] for name, column in columns.items() if column.is_scalar}
    vocabularies = _vocabularies(paths.item_transform)
    categorical = _strip("categorical_", scalars)
    bucketed = _strip("numeric_", scalars)
    multi_valued = {
        name: Ragged((taken := _take(column, order)).values.astype(np.int32), taken.offsets)
        for name, column in _strip("multi_valued_", columns).items()
    }
    sizes = {name: len(vocabularies[f"categorical_{name}"]) + 1 for name in categorical}
    sizes |= {name: len(vocabularies[f"multi_valued_{name}"]) + 1 for name in multi_valued}
    sizes |= dict.fromkeys(bucketed, NUM_BUCKETS + 1)
    return ItemTable(
        item_id=_strings(scalars["item_id"]),
        title=_strings(scalars["title"]),
        text_row=scalars["text"].astype(np.int32),
        train_count=scalars["train_count"],
        occurs=scalars["occurs"].astype(bool),
        categorical={name: ids.astype(np.int32) for name, ids in categorical.items()},
        multi_valued=multi_valued,
        bucketed={name: ids.astype(np.int32) for name, ids in bucketed.items()},
        dense={name: _dense(columns[f"dense_{name}"], width)[order] for name, width in _dense_widths(data).items()},
        sizes=sizes,
    )


def _load_sequences(
    data: DataConfig, paths: DatasetPaths, split: str, items: ItemTable, keys: SortedKeys
) -> SequenceTable:
    columns = _read(paths.sequences, split, sequence_features(data), keys)
    order = np.argsort(columns["user_id"].values, kind="stable")
    scalars = {name: column.values[order] for name, column in columns.items() if column.is_scalar}
    lists = {name: _take(column, order) for name, column in columns.items() if not column.is_scalar}
    index = {item_id: position + 1 for position, item_id in enumerate(items.item_id)}
    item_ids = lists["item_id"].values
    vocabularies = _vocabularies(paths.sequence_transform)
    profile = _strip("profile_", scalars)
    context = {name: column.values for name, column in _strip("context_", lists).items()}
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
        context={name: ids.astype(np.int32) for name, ids in context.items()},
        profile={name: ids.astype(np.int32) for name, ids in profile.items()},
        sizes=sizes,
        names=names,
    )


@dataclass(frozen=True)
class _Column:
    """A feature of all examples. `offsets` is None where every example has exactly one value."""

    values: np.ndarray
    offsets: np.ndarray | None

    @property
    def is_scalar(self) -> bool:
        return self.offsets is None


def _read(directory: str, split: str, features: list[Feature], keys: SortedKeys) -> dict[str, _Column]:
    files = sorted(tf.io.gfile.glob(os.path.join(directory, f"Split-{split}", "*.gz")))
    if not files:
        raise TowersError(
            f"{directory}: holds no examples of split `{split}`. Run the pipeline's Transform step again."
        )
    spec = {feature.transformed_key: _parsing(feature) for feature in features}
    names = [feature.name for feature in features]
    chunks: dict[str, list[np.ndarray]] = {name: [] for name in names}
    lengths: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for records in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_PARSE_BATCH):
        parsed = tf.io.parse_example(records, spec)
        for name, value in ((feature.name, parsed[feature.transformed_key]) for feature in features):
            if isinstance(value, tf.RaggedTensor):
                lengths[name].append(value.row_lengths().numpy())
                value = value.flat_values
            flat = value.numpy().reshape(-1)
            # Rows at once, batch by batch: a table's texts are never all in memory.
            chunks[name].append(rows_of(keys, flat) if name in TEXT_FEATURES else flat)
    columns = {}
    for name in names:
        values = np.concatenate(chunks[name]) if chunks[name] else np.zeros(0)
        offsets = offsets_of(np.concatenate(lengths[name])) if lengths[name] else None
        columns[name] = _Column(values, offsets)
    return columns


def _parsing(feature: Feature) -> tf.io.FixedLenFeature | tf.io.RaggedFeature:
    dtype = {"bytes": tf.string, "int": tf.int64, "float": tf.float32}[feature.kind]
    if feature.name.startswith(_ID_PREFIXES):
        dtype = tf.int64
    if feature.scalar or feature.is_bucketed:
        return tf.io.FixedLenFeature([1], dtype)
    return tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)


def _strip(prefix: str, columns: dict) -> dict:
    return {name.removeprefix(prefix): value for name, value in columns.items() if name.startswith(prefix)}


def _take(column: _Column, order: np.ndarray) -> Ragged:
    """The lists of a column in another order."""
    assert column.offsets is not None
    positions, offsets = list_positions(column.offsets, order)
    return Ragged(values=column.values[positions], offsets=offsets)


def _dense_widths(data: DataConfig) -> dict[str, int]:
    return data.items.dense if data.items else {}


def _dense(column: _Column, width: int) -> np.ndarray:
    """float32 [rows, width]; zeros where a row has no vector."""
    assert column.offsets is not None
    lengths = np.diff(column.offsets)
    matrix = np.zeros((len(lengths), width), np.float32)
    matrix[lengths == width] = column.values.reshape(-1, width)
    return matrix


def _vocabularies(transform_graph: str) -> dict[str, list[str]]:
    """Feature -> what its ids from 1 on stand for."""
    vocabularies = {}
    for path in tf.io.gfile.glob(os.path.join(transform_graph, "transform_fn", "assets", "*")):
        with tf.io.gfile.GFile(path, "rb") as lines:
            vocabularies[os.path.basename(path)] = lines.read().decode("utf-8", errors="replace").split("\n")[:-1]
    return vocabularies


def _strings(values: np.ndarray) -> np.ndarray:
    return np.array([value.decode("utf-8") for value in values], dtype=object)
