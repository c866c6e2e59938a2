"""The gate of train/serve skew: the export answers requests as the batch path does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.utils import path_utils

from serving.export.exported_model import Answer, ExportedModel
from tfx_pipeline.artifacts import GateVerdict, Ranker, Towers
from tfx_pipeline.components.dataset_step import DATASET_INPUTS, DatasetChannels, DatasetExecutor, Step
from tfx_pipeline.gates import verdict
from tfx_pipeline.gates.skew import judgement as skew
from tfx_pipeline.terminal import progress
from trainer.config import Config
from trainer.data.loading import Dataset
from trainer.data.tables import UNKNOWN_ITEM
from trainer.evaluation.full_ranking import rank_all


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
        served = model.recommend(requests, on_update=_say(len(requests)), reuse_vectors=False)
        exact = model.metadata["index"]["kind"] == "brute_force"
        path = _BatchPath(step, dataset, split)
        found = skew.judge(served, path.answers(rows, served, exact), config.gates.skew_tolerance, path.unit)
        verdict.write(step.outputs["verdict"], found)
        progress.summary(found.line())


def _say(of: int) -> Callable[[int], None]:
    return lambda done: progress.update(f"{done:,} of {of:,} requests answered")


class _BatchPath:
    """What evaluation and `towers predict` go by, asked for lists as an export answers them."""

    def __init__(self, step: Step, dataset: Dataset, split: str) -> None:
        # An export knows nothing of which items evaluation ranks.
        everything = step.config.evaluation.model_copy(update={"candidates": "all"})
        self._config = step.config.model_copy(update={"evaluation": everything})
        self._items, self._sequences = dataset.items, dataset.splits[split]
        self._towers = step.towers(dataset)
        self._ranker = step.ranker(self._towers) if step.ranking_is_served() else None
        self._names = np.concatenate([[""], dataset.items.item_id])
        trained = self._towers.config
        # What a score of 1 is in logits: cosines are divided by the temperature in training.
        self._retrieval_unit = trained.retrieval.temperature if trained.model.similarity == "cosine" else 1.0
        self.unit = 1.0 if self._ranker else self._retrieval_unit

    def answers(self, rows: np.ndarray, served: list[Answer], exact: bool) -> list[skew.Batch]:
        """Of each row.

        Args:
          rows: of the split.
          served: a list each.
          exact: whether the served index finds what there is; one that approximates is the index gate's to judge.
        """
        k = self._config.serving.k
        index_of = {item_id: index for index, item_id in enumerate(self._names.tolist())}
        among = np.full((len(rows), k), UNKNOWN_ITEM, np.int32)
        for place, answer in enumerate(served):
            found = [index_of.get(item_id, UNKNOWN_ITEM) for item_id in answer.item_ids[:k]]
            among[place, : len(found)] = found
        scores = self._lists(rows, k=k, among=among, ranking=self._ranker)
        best = self._lists(rows, k=k, ranking=self._ranker)
        surely = self._surely_ranked(rows) if exact and self._ranker else best
        return [
            skew.Batch(
                scores[row],
                {item: score for item, score in best[row].items() if item in surely[row]} if exact else {},
                len(best[row]),
            )
            for row in rows.tolist()
        ]

    def _surely_ranked(self, rows: np.ndarray) -> dict[int, dict[str, float]]:
        """What retrieval hands to ranking for each row, but for those that rounding might put behind the last of it."""
        count, tolerance = self._config.ranking.candidates, self._config.gates.skew_tolerance
        lists = self._lists(rows, k=count)
        for row, scores in lists.items():
            if len(scores) == count:
                last = min(scores.values())
                least = last + tolerance * max(self._retrieval_unit, abs(last))
                lists[row] = {item: score for item, score in scores.items() if score > least}
        return lists

    def _lists(self, rows: np.ndarray, **options: Any) -> dict[int, dict[str, float]]:
        """Row -> item id -> score."""
        lists: dict[int, dict[str, float]] = {}
        for ranked in rank_all(self._config, self._towers, self._items, self._sequences, users=rows, **options):
            for row, items, scores in zip(ranked.users, ranked.items, ranked.scores, strict=True):
                kept = items != UNKNOWN_ITEM
                lists[int(row)] = dict(zip(self._names[items[kept]], scores[kept].tolist(), strict=True))
        return lists


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
