"""The skew gate: the export should answer raw requests as the batch path answers them."""

from __future__ import annotations

import numpy as np
from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.utils import path_utils

from serving.export.exported_model import ExportedModel
from tfx_pipeline.artifacts import GateVerdict, Ranker, Towers
from tfx_pipeline.components.dataset_step import DATASET_INPUTS, DatasetChannels, DatasetExecutor, Step
from tfx_pipeline.gates import verdict
from tfx_pipeline.gates.skew import judgement
from tfx_pipeline.gates.skew.batch_path import BatchPath
from tfx_pipeline.terminal import progress
from trainer.config import Config
from trainer.data.tables import SequenceTable


class SkewGateExecutor(DatasetExecutor):
    def run(self, step: Step) -> None:
        gates = step.config.gates
        split = step.evaluated_split
        dataset = step.load_dataset(split)
        sequences = dataset.splits[split]
        rows = users_of_all_lengths(sequences, gates.skew_users)
        requests = step.held_out_requests(split, sequences.user_id[rows].tolist())
        model = ExportedModel(path_utils.serving_model_path(step.inputs["model"]))
        answers = model.recommend(
            requests,
            on_update=lambda count: progress.update(f"{count:,} of {len(requests):,} requests answered"),
            reuse_vectors=False,
        )
        batch_path = BatchPath(step, dataset, split)
        exact_index = model.metadata["index"]["kind"] == "brute_force"
        expected = batch_path.expected_answers(rows, answers, exact_index)
        result = judgement.judge(answers, expected, gates.skew_tolerance, batch_path.unit)
        verdict.write(step.outputs["verdict"], result)
        progress.summary(result.line())


def users_of_all_lengths(sequences: SequenceTable, count: int) -> np.ndarray:
    """Rows of at most `count` users who have held-out events, evenly spaced by the length of their histories."""
    rows = np.flatnonzero(sequences.target_count)
    if not len(rows):
        return rows
    history_lengths = np.diff(sequences.offsets) - sequences.target_count
    rows = rows[np.argsort(history_lengths[rows], kind="stable")]
    return rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(int))]


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
    """Sends the export the requests of held-out users and compares its answers with the batch path's.

    The requests are raw, as clients send them. A difference means that training and serving prepare their inputs
    differently (train/serve skew).

    Args:
      dataset: the transformed dataset.
      ingested: the sequences before Transform, from which the requests are made.
      towers: the retrieval model.
      ranker: the ranking model, or None.
      model: the export of both models.
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
