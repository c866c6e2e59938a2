"""Applies a trained retrieval model to another catalogue: the same weights, no training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trainer.data.tables import UNKNOWN_ITEM, ItemTable, TextVectors
from trainer.retrieval.model import RetrievalModel


def trained_rows(trained: ItemTable, items: ItemTable) -> np.ndarray:
    """The index of each item in the training catalogue, int32 [n]; UNKNOWN_ITEM for a new item."""
    index = {item_id: row + 1 for row, item_id in enumerate(trained.item_id)}
    return np.fromiter((index.get(item_id, UNKNOWN_ITEM) for item_id in items.item_id), np.int32, len(items))


def with_trained_counts(items: ItemTable, trained: ItemTable) -> ItemTable:
    """The items with their event counts in the training catalogue; a new item has no events and popularity 0."""
    rows = trained_rows(trained, items)
    train_count = np.concatenate([[0], trained.train_count])[rows]
    return replace(items, train_count=train_count, occurs=np.concatenate([[False], trained.occurs])[rows])


def model_for_catalogue(
    model: RetrievalModel, trained: ItemTable, items: ItemTable, texts: TextVectors | None
) -> RetrievalModel:
    """The model with another catalogue in its item tower.

    An item of the training catalogue keeps its id embedding, even if its index changes. A new item has the embedding
    of unknown ids, which `id_dropout` has trained. All other inputs of an item are read from `items`.

    Args:
      model: trained on `trained`.
      trained: the training catalogue.
      items: the other catalogue, transformed by the training's Transform graph; see `with_trained_counts`.
      texts: vectors of the texts of `items`, by the model's encoder. Use the result for item vectors only: the text
        rows of sequences refer to other vectors. Its user tower has the same weights as that of `model`.

    Returns:
      A model with weights of its own.
    """
    item_tower, user_tower = model.item_tower, model.user_tower
    result = RetrievalModel(model.config, replace(item_tower.inputs, items=len(items)), user_tower.inputs)
    result.encoder = model.encoder
    for tower, trained_tower in ((result.item_tower, item_tower), (result.user_tower, user_tower)):
        for variable, value in zip(tower.variables, trained_tower.variables, strict=True):
            if value is not item_tower.id_embedding:
                variable.assign(value)
    embedding = item_tower.id_embedding.numpy()
    if len(embedding) > 1:  # a model without ids has one row only, that of unknown ids
        embedding = embedding[np.concatenate([[UNKNOWN_ITEM], trained_rows(trained, items)])]
    result.item_tower.id_embedding.assign(embedding)
    result.attach(items, texts)
    return result
