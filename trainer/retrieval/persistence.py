"""Saves and loads a trained retrieval model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.tables import ItemTable, TextVectors
from trainer.errors import TowersError, first_line
from trainer.retrieval.model import RetrievalModel
from trainer.text.fine_tuning.saved import fine_tuned_encoder, fine_tuned_vectors
from trainer.towers.inputs import ItemInputs, UserInputs, as_dict

CONFIG, INPUTS, WEIGHTS, HISTORY = "config.json", "inputs.json", "weights", "history.json"
ITEM_IDS, ITEM_VECTORS = "item_ids.json", "item_vectors.npy"


def save(model: RetrievalModel, directory: Path, items: ItemTable, history: list[dict[str, Any]]) -> None:
    """Writes a trained model: configuration, sizes of inputs, weights, item ids and vectors, and the training history.

    Args:
      model: trained, with `items` attached.
      directory: should exist and be empty.
      items: the catalogue.
      history: the epochs' records.

    Raises:
      OSError: a file cannot be written.
    """
    if model.fine_tuning is not None:
        model.fine_tuning.save(directory)  # first, because it encodes all texts again: the item vectors depend on them
    sizes = {"item": as_dict(model.item_tower.inputs), "user": as_dict(model.user_tower.inputs)}
    (directory / CONFIG).write_text(model.config.to_json(), encoding="utf-8")
    (directory / INPUTS).write_text(json.dumps(sizes, indent=1), encoding="utf-8")
    (directory / HISTORY).write_text(json.dumps(history, indent=1), encoding="utf-8")
    (directory / ITEM_IDS).write_text(json.dumps(list(items.item_id), ensure_ascii=False), encoding="utf-8")
    np.save(directory / ITEM_VECTORS, model.item_vectors().numpy())
    _weights(model).write(str(directory / WEIGHTS))


def load(directory: str | Path, items: ItemTable, texts: TextVectors | None) -> RetrievalModel:
    """The model that `save` wrote, with catalogue and texts attached.

    Args:
      directory: as given to `save`.
      items: the catalogue that the model was trained on.
      texts: vectors of all texts by the encoder before fine-tuning; None if the data has no text.

    Raises:
      TowersError: the directory holds no model, or a model that was trained on another catalogue.
    """
    directory = Path(directory)
    try:
        config = Config.from_json((directory / CONFIG).read_text(encoding="utf-8"))
        sizes = json.loads((directory / INPUTS).read_text(encoding="utf-8"))
        item_ids = json.loads((directory / ITEM_IDS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TowersError(
            f"{directory}: holds no retrieval model ({error}). Give a directory written by training."
        ) from None
    if item_ids != list(items.item_id):
        raise TowersError(
            f"{directory}: trained on another catalogue ({len(item_ids)} items, here {len(items)}). "
            f"Use the items of the run that trained it."
        )
    model = RetrievalModel(config, ItemInputs(**sizes["item"]), UserInputs(**sizes["user"]))
    model.encoder = fine_tuned_encoder(config, directory)
    try:
        _weights(model).read(str(directory / WEIGHTS)).assert_consumed()
    except (tf.errors.OpError, AssertionError) as error:
        raise TowersError(f"{directory}: the weights cannot be read ({first_line(error)}). Train again.") from None
    model.attach(items, fine_tuned_vectors(config, directory, texts))
    return model


def _weights(model: RetrievalModel) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(item_tower=model.item_tower, user_tower=model.user_tower)
