"""Trained towers over another catalogue than the one they were trained on: the same weights, no training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trainer.data.tables import UNKNOWN_ITEM, ItemTable, TextVectors
from trainer.retrieval.model import RetrievalModel


def rows_in(trained: ItemTable, items: ItemTable) -> np.ndarray:
    """The index that each item had in training, int32 [n]; UNKNOWN_ITEM for a new one."""
    index = {item_id: row + 1 for row, item_id in enumerate(trained.item_id)}
    return np.fromiter((index.get(item_id, UNKNOWN_ITEM) for item_id in items.item_id), np.int32, len(items))


def with_trained_counts(items: ItemTable, trained: ItemTable) -> ItemTable:
    """The items with what training knows of their events; new ones have none, so their popularity is 0."""
    rows = rows_in(trained, items)
    train_count = np.concatenate([[0], trained.train_count])[rows]
    return replace(items, train_count=train_count, occurs=np.concatenate([[False], trained.occurs])[rows])


def model_for_catalogue(
    model: RetrievalModel, trained: ItemTable, items: ItemTable, texts: TextVectors | None
) -> RetrievalModel:
    """The model with its item tower over other items.

    An item of the training catalogue keeps its id's embedding, wherever it stands now; a new one has that of unknown
    ids, which training with `id_dropout` has prepared for it. Everything else about an item is read anew.

    Args:
      model: trained, over `trained`.
      trained: the catalogue it was trained on.
      items: the other one, transformed by the training's own Transform; see `with_trained_counts`.
      texts: vectors of these items' texts, by the model's encoder. Rows of other texts mean nothing to the result, so
        that it encodes no sequences of a dataset; it makes item vectors, and its user tower is the given model's.

    Returns:
      A model with weights of its own.
    """
    item_tower, user_tower = model.item_tower, model.user_tower
    moved = RetrievalModel(model.config, replace(item_tower.inputs, items=len(items)), user_tower.inputs)
    moved.encoder = model.encoder
    for made, given in ((moved.item_tower, item_tower), (moved.user_tower, user_tower)):
        for variable, value in zip(made.variables, given.variables, strict=True):
            if value is not item_tower.id_embedding:
                variable.assign(value)
    embedding = item_tower.id_embedding.numpy()
    if len(embedding) > 1:  # else the model knows no ids, and the one row is that of unknown ones
        embedding = embedding[np.concatenate([[UNKNOWN_ITEM], rows_in(trained, items)])]
    moved.item_tower.id_embedding.assign(embedding)
    moved.attach(items, texts)
    return moved
