"""Saves and loads ranking models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tensorflow as tf

from trainer.config import Config
from trainer.errors import TowersError, first_line
from trainer.ranking.candidate_features import CandidateFeatures
from trainer.ranking.model import RankingModel

CONFIG, INPUTS, WEIGHTS, HISTORY = "config.json", "inputs.json", "weights", "history.json"


def save(model: RankingModel, directory: Path, history: list[dict[str, Any]]) -> None:
    """Writes the model and the records of its epochs; `directory` should exist and be empty."""
    (directory / CONFIG).write_text(model.config.to_json(), encoding="utf-8")
    inputs = {
        "dim": model.dim,
        "rated": model.rated,
        "rating_mean": model.rating_mean,
        "rating_std": model.rating_std,
    }
    (directory / INPUTS).write_text(json.dumps(inputs, indent=1), encoding="utf-8")
    (directory / HISTORY).write_text(json.dumps(history, indent=1), encoding="utf-8")
    model.candidate_features.save(directory)
    tf.train.Checkpoint(**model.weight_parts()).write(str(directory / WEIGHTS))


def load(directory: str | Path) -> RankingModel:
    """The model that `save` wrote. `score` works at once, `reorder` after `attach`.

    Raises:
      TowersError: the directory does not hold a model.
    """
    directory = Path(directory)
    try:
        config = Config.from_json((directory / CONFIG).read_text(encoding="utf-8"))
        inputs = json.loads((directory / INPUTS).read_text(encoding="utf-8"))
        model = RankingModel(config, features=CandidateFeatures.load(directory), **inputs)
        tf.train.Checkpoint(**model.weight_parts()).read(str(directory / WEIGHTS)).assert_consumed()
    except (OSError, ValueError, TypeError, tf.errors.OpError, AssertionError) as error:
        raise TowersError(
            f"{directory}: holds no ranking model ({first_line(error)}). Give a directory written by training."
        ) from None
    return model
