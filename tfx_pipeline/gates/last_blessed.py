"""Resolves the model that was blessed last, which a gate compares the new model with."""

from __future__ import annotations

import ml_metadata as mlmd
from tfx import types
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.types import standard_artifacts


class EarlierBlessedModelStrategy(LatestBlessedModelStrategy):
    """TFX's LatestBlessedModelStrategy without the model of input `candidate`.

    A model is then not compared with itself, and a repeated run is compared with the same model as before.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        inputs = dict(input_dict)
        candidates = inputs.pop("candidate")
        candidate_ids = {artifact.id for artifact in candidates}
        inputs["model"] = [model for model in inputs["model"] if model.id not in candidate_ids]
        resolved = super().resolve_artifacts(store, inputs)
        return None if resolved is None else {"candidate": candidates, **resolved}


def last_blessed_model(candidate: types.BaseChannel) -> Resolver:
    """A node with outputs `model` and `model_blessing`; they are empty if no other model was blessed in this pipeline.

    Args:
      candidate: the model of this run.
    """
    return Resolver(
        strategy_class=EarlierBlessedModelStrategy,
        candidate=candidate,
        model=types.Channel(type=standard_artifacts.Model),
        model_blessing=types.Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("LastBlessedModel")
