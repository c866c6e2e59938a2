"""Reads a trained ranking model."""

from __future__ import annotations

import json
from pathlib import Path

import tensorflow as tf

from trainer.config import Config
from trainer.errors import TowersError, first_line
from trainer.ranking.candidate_features import CandidateFeatures
from trainer.ranking.model import CONFIG, INPUTS, WEIGHTS, RankingModel


def load(directory: str | Path) -> RankingModel:
    """The model that `train` wrote. `score` works at once; `reorder` after `attach`.

    Raises:
      TowersError: the directory does not hold a model.
    """
    directory = Path(directory)
    try:
        config = Config.from_json((directory / CONFIG).read_text(encoding="utf-8"))
        inputs = json.loads((directory / INPUTS).read_text(encoding="utf-8"))
        model = RankingModel(config, features=CandidateFeatures.load(directory), **inputs)
        tf.train.Checkpoint(**model._parts()).read(str(directory / WEIGHTS)).assert_consumed()
    except (OSError, ValueError, TypeError, tf.errors.OpError, AssertionError) as error:
        raise TowersError(
            f"{directory}: holds no ranking model ({first_line(error)}). Give a directory written by training."
        ) from None
    return model
