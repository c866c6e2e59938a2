"""A dataset: the directories to which the pipeline wrote it, and its tables in memory."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.data.tables import ItemTable, SequenceTable, TextVectors


@dataclass(frozen=True)
class DatasetPaths:
    """The directories of the artifacts that a dataset consists of."""

    sequences: str  # transformed examples of users, in `Split-<split>/`
    items: str  # transformed examples of items, in `Split-all/`
    sequence_transform: str  # transform graphs
    item_transform: str
    texts: str  # text embeddings


@dataclass(frozen=True)
class Dataset:
    """The tables that a model is trained and evaluated on."""

    items: ItemTable
    splits: dict[str, SequenceTable]
    texts: TextVectors | None  # None: the data has no text

    @property
    def train(self) -> SequenceTable:
        return self.splits["train"]
