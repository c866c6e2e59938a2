"""Synthetic tables: one with every kind of column, and one whose next item follows from the last."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.config import Config
from trainer.data.dataset import Dataset
from trainer.data.ragged import Ragged, offsets_of
from trainer.data.tables import ItemTable, SequenceTable, TextVectors

WIDTH = 12  # of the text vectors


def make_config(time_format: str = "epoch_seconds", **sections: Any) -> Config:
    """A configuration of no file; `sections` are top-level keys."""
    interactions = {"path": "x.csv", "user_id": "u", "item_id": "i", "time": "t", "time_format": time_format}
    data = {"interactions": interactions, **sections.pop("data", {})}
    return Config.model_validate({"name": "synthetic", "data": data, **sections})


def item_table(count: int, train_count: np.ndarray | None = None, **columns: Any) -> ItemTable:
    ids = np.array([f"item-{i:05d}" for i in range(1, count + 1)], object)
    return ItemTable(
        item_id=ids,
        title=ids,
        text_row=columns.pop("text_row", np.full(count, -1, np.int32)),
        train_count=np.ones(count, np.int64) if train_count is None else train_count.astype(np.int64),
        occurs=columns.pop("occurs", np.ones(count, bool)),
        **columns,
    )


def sequence_table(sequences: list[list[int]], targets: int = 0, **columns: Any) -> SequenceTable:
    lengths = [len(sequence) for sequence in sequences]
    events = sum(lengths)
    return SequenceTable(
        user_id=np.array([f"user-{i}" for i in range(len(sequences))], object),
        offsets=offsets_of(lengths),
        target_count=np.full(len(sequences), targets, np.int32),
        item=np.array([item for sequence in sequences for item in sequence], np.int32),
        timestamp=columns.pop("timestamp", 1_600_000_000 + np.arange(events, dtype=np.int64) * 1000),
        **columns,
    )


def dataset(
    items: ItemTable, train: SequenceTable, validation: SequenceTable | None = None, texts: TextVectors | None = None
) -> Dataset:
    """The tables as `trainer.retrieval.training.train` takes them."""
    splits = {"train": train} if validation is None else {"train": train, "validation": validation}
    return Dataset(items, splits, texts)


def everything(users: int = 6, seed: int = 0) -> tuple[ItemTable, SequenceTable, TextVectors]:
    """Small tables with every kind of input."""
    generator = np.random.default_rng(seed)
    count, texts = 9, 20
    items = item_table(
        count,
        train_count=np.array([5, 3, 0, 2, 1, 1, 4, 2, 1]),
        text_row=np.array([0, 1, 2, 3, -1, 5, 6, 7, 8], np.int32),
        categorical={"genre": generator.integers(0, 4, count).astype(np.int32)},
        multi_valued={
            "tags": Ragged(np.array([1, 2, 3, 1, 2], np.int32), np.array([0, 2, 2, 3, 5, 5, 5, 5, 5, 5], np.int64))
        },
        bucketed={"price": generator.integers(0, 5, count).astype(np.int32)},
        dense={"image": generator.normal(size=(count, 3)).astype(np.float32)},
        sizes={"genre": 4, "tags": 4, "price": 5},
    )
    lengths = [1, *generator.integers(2, 12, users - 1)]
    events = int(np.sum(lengths))
    sequences = sequence_table(
        [list(generator.integers(1, count + 1, length)) for length in lengths],
        timestamp=1_600_000_000 + np.cumsum(generator.integers(0, 90_000, events)),
        event=generator.integers(0, 3, events).astype(np.int32),
        rating=np.where(generator.random(events) < 0.3, np.nan, generator.integers(1, 6, events)).astype(np.float32),
        text_row=generator.integers(-1, texts, events).astype(np.int32),
        query_row=generator.integers(-1, texts, events).astype(np.int32),
        context={"device": generator.integers(0, 4, events).astype(np.int32)},
        profile={"age": generator.integers(0, 3, users).astype(np.int32)},
        sizes={"event": 3, "context_device": 4, "profile_age": 3},
        rating_mean=3.0,
        rating_std=1.2,
    )
    vectors = generator.normal(size=(texts, WIDTH))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return items, sequences, TextVectors(vectors.astype(np.float16), "synthetic")


def markov(
    users: int = 300, count: int = 40, seed: int = 0
) -> tuple[ItemTable, SequenceTable, SequenceTable, SequenceTable]:
    """Walks through the catalogue by small steps, from a skewed start: (items, train, validation, test)."""
    generator = np.random.default_rng(seed)
    walks = []
    for _ in range(users):
        item, sequence = int(count * generator.random() ** 2), []
        for _ in range(int(generator.integers(5, 14))):
            sequence.append(item % count + 1)
            item += int(generator.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))
        walks.append(sequence)
    train = [sequence[:-2] for sequence in walks]
    counts = np.bincount(np.concatenate(train), minlength=count + 1)[1:]
    splits = [sequence_table(train), sequence_table([s[:-1] for s in walks], 1), sequence_table(walks, 1)]
    return item_table(count, counts), *splits
