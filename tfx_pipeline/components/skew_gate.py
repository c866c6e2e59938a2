"""The gate of train/serve skew: the export answers requests as the batch path does."""

from __future__ import annotations

import numpy as np
from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.utils import path_utils

from serving.exported_model import ExportedModel
from tfx_pipeline import progress
from tfx_pipeline.artifacts import GateVerdict, Ranker, Towers
from tfx_pipeline.components.dataset_step import DATASET_INPUTS, DatasetChannels, DatasetExecutor, Step
from tfx_pipeline.gates import skew, verdict
from trainer.config import Config
from trainer.evaluation.full_ranking import rank_all
from trainer.loading import Dataset


class SkewGateExecutor(DatasetExecutor):
    def run(self, step: Step) -> None:
        config = step.config
        split = step.evaluated_split
        dataset = step.dataset(split)
        sequences = dataset.splits[split]
        before = np.diff(sequences.offsets) - sequences.target_count
        rows = np.flatnonzero(sequences.target_count)
        rows = rows[np.argsort(before[rows], kind="stable")]
        if len(rows):  # histories of all lengths
            rows = rows[np.unique(np.linspace(0, len(rows) - 1, config.gates.skew_users).astype(int))]
        requests = step.requests(split, sequences.user_id[rows].tolist())
        model = ExportedModel(path_utils.serving_model_path(step.inputs["model"]))
        served = model.recommend(requests)
        batch = _by_the_batch_path(step, dataset, split, rows)
        found = skew.judge(served, batch, config.serving.k, config.gates.skew_tolerance)
        verdict.write(step.outputs["verdict"], found)
        progress.summary(found.line())


def _by_the_batch_path(step: Step, dataset: Dataset, split: str, rows: np.ndarray) -> list[dict[str, float]]:
    """Item id -> score of each row's best items, twice as many as are served."""
    config = step.config
    towers = step.towers(dataset)
    # An export knows nothing of which items evaluation ranks.
    everything = config.evaluation.model_copy(update={"candidates": "all"})
    names = np.concatenate([[""], dataset.items.item_id])
    lists: dict[int, dict[str, float]] = {}
    for ranked in rank_all(
        config.model_copy(update={"evaluation": everything}),
        towers,
        dataset.items,
        dataset.splits[split],
        k=2 * config.serving.k,
        users=rows,
        ranking=step.ranker(towers) if step.ranking_is_served() else None,
    ):
        for row, items, scores in zip(ranked.users, ranked.items, ranked.scores, strict=True):
            kept = items > 0
            lists[int(row)] = dict(zip(names[items[kept]], scores[kept].tolist(), strict=True))
    return [lists[row] for row in rows.tolist()]


class SkewGateSpec(component_spec.ComponentSpec):
    PARAMETERS = {"config": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        **DATASET_INPUTS,
        "ingested": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "towers": component_spec.ChannelParameter(type=Towers),
        "ranker": component_spec.ChannelParameter(type=Ranker, optional=True),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"verdict": component_spec.ChannelParameter(type=GateVerdict)}


class SkewGate(base_component.BaseComponent):
    """Replays requests of held-out users, raw as clients send them, and demands the batch path's answers.

    Args:
      dataset: the transformed dataset.
      ingested: the sequences before Transform: what clients would send.
      towers: the retrieval model.
      ranker: the ranking model, or None.
      model: the export of both.
      config: the run's configuration.
    """

    SPEC_CLASS = SkewGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(SkewGateExecutor)

    def __init__(
        self,
        dataset: DatasetChannels,
        ingested: types.BaseChannel,
        towers: types.BaseChannel,
        ranker: types.BaseChannel | None,
        model: types.BaseChannel,
        config: Config,
    ):
        super().__init__(
            SkewGateSpec(
                config=config.restricted("text", "model", "ranking", "serving", "evaluation", "gates").to_json(),
                **vars(dataset),
                ingested=ingested,
                towers=towers,
                ranker=ranker,
                model=model,
                verdict=types.Channel(type=GateVerdict),
            )
        )
