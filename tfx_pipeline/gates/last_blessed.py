"""The model that was blessed last, for a gate to compare with."""

from __future__ import annotations

import ml_metadata as mlmd
from tfx import types
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.types import standard_artifacts


class EarlierBlessedModelStrategy(LatestBlessedModelStrategy):
    """TFX's LatestBlessedModelStrategy, which passes over `candidate`: a model is not compared with itself, and a run
    that is repeated finds what it found before.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        candidates = input_dict["candidate"]
        others = {key: list(found) for key, found in input_dict.items() if key != "candidate"}
        ids = {artifact.id for artifact in candidates}
        others["model"] = [model for model in others["model"] if model.id not in ids]
        found = super().resolve_artifacts(store, others)
        return None if found is None else {"candidate": candidates, **found}


def last_blessed_model(candidate: types.BaseChannel) -> Resolver:
    """A node with outputs `model` and `model_blessing`, empty where no other model of this pipeline was blessed.

    Args:
      candidate: the model that this run made.
    """
    return Resolver(
        strategy_class=EarlierBlessedModelStrategy,
        candidate=candidate,
        model=types.Channel(type=standard_artifacts.Model),
        model_blessing=types.Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("LastBlessedModel")
