"""Reads a trained retrieval model."""

from __future__ import annotations

import json
from pathlib import Path

import tensorflow as tf

from trainer.config import Config
from trainer.data.tables import ItemTable, TextVectors
from trainer.errors import TowersError, first_line
from trainer.retrieval.model import CONFIG, INPUTS, ITEM_IDS, RetrievalModel
from trainer.text.fine_tuning.saved import fine_tuned_encoder, fine_tuned_vectors
from trainer.towers.inputs import ItemInputs, UserInputs


def load(directory: str | Path, items: ItemTable, texts: TextVectors | None) -> RetrievalModel:
    """The model that `train` wrote.

    Raises:
      TowersError: the directory does not hold a model, or holds one of another catalogue.
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
        model.restore(directory)
    except (tf.errors.OpError, AssertionError) as error:
        raise TowersError(f"{directory}: the weights cannot be read ({first_line(error)}). Train again.") from None
    model.attach(items, fine_tuned_vectors(config, directory, texts))
    return model
