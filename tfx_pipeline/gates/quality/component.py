"""The quality gate: the export should reach minima and not be worse than baselines and the last blessed model."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np
from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.io import fileio
from tfx.types import component_spec, standard_artifacts
from tfx.utils import io_utils, path_utils

from serving.client import UserRequest
from serving.export.exported_model import ExportedModel
from tfx_pipeline.artifacts import GateVerdict
from tfx_pipeline.components.dataset_step import DATASET_INPUTS, DatasetChannels, DatasetExecutor, Step
from tfx_pipeline.gates import verdict
from tfx_pipeline.gates.quality import judgement
from tfx_pipeline.gates.quality.judgement import PairedRanks, SliceComparison
from tfx_pipeline.gates.verdict import Verdict
from tfx_pipeline.terminal import progress
from trainer.config import Config
from trainer.data import texts
from trainer.data.features import has_clock
from trainer.evaluation import document
from trainer.evaluation.slices import slices
from trainer.evaluation.targets import Targets, targets_of


class QualityGateExecutor(DatasetExecutor):
    def run(self, step: Step) -> None:
        evaluation = document.read(step.inputs["evaluation"])
        with tempfile.TemporaryDirectory(prefix="quality-gate-") as scratch:
            result = _judge(step, evaluation, find_last_model(step, scratch))
        verdict.write(step.outputs["verdict"], result)
        progress.summary(result.line())


def find_last_model(step: Step, scratch: str) -> str | None:
    """Directory of the SavedModel to compare with: the model that was blessed last.

    The newest pushed version takes its place if the runner cannot look it up or if its files are missing.

    Args:
      step: the gate's execution.
      scratch: a directory for a copy of a remote version.

    Returns:
      A local directory; None if there is no such model.
    """
    if "last_blessed" in step.inputs:
        blessed = path_utils.serving_model_path(step.inputs["last_blessed"])
        if fileio.exists(blessed):
            return blessed
    serving_directory = step.serving_directory.rstrip("/")
    if not serving_directory or not fileio.exists(serving_directory):
        return None
    names = [name.rstrip("/") for name in fileio.listdir(serving_directory)]
    versions = [int(name) for name in names if name.isdigit()]
    if not versions:
        return None
    newest = f"{serving_directory}/{max(versions)}"
    if "://" not in newest:
        return newest
    copy = os.path.join(scratch, "model")
    io_utils.copy_dir(newest, copy)
    return copy


def _judge(step: Step, evaluation: dict[str, Any], last_model: str | None) -> Verdict:
    gates = step.config.gates
    limits = judgement.check_limits(gates, evaluation)
    if last_model is None:
        if "last_blessed" not in step.inputs:
            return Verdict(judgement.GATE, tuple(limits), note="no earlier blessed model to compare with")
        blessed = path_utils.serving_model_path(step.inputs["last_blessed"])
        missing = judgement.missing_last_model(blessed, step.serving_directory)
        return Verdict(judgement.GATE, (*limits, missing))
    comparisons, k, note = _compare_with(last_model, step, evaluation)
    checks = judgement.check_comparisons(gates, comparisons, k)
    measured = {"last_blessed": last_model, "k": k, "compared": [vars(comparison) for comparison in comparisons]}
    return Verdict(judgement.GATE, (*checks, *limits), note, measured)


def _compare_with(last_model: str, step: Step, evaluation: dict[str, Any]) -> tuple[list[SliceComparison], int, str]:
    """Sends both exports the requests of the same held-out users and compares their lists.

    Returns:
      (comparisons, k of NDCG@k, a note on slices with too few users). k is that of the evaluation's main metric, or the
      length of the shorter lists if that is smaller.
    """
    config, split = step.config, evaluation["split"]
    dataset = step.load_dataset(split)
    items, sequences = dataset.items, dataset.splits[split]
    targets = targets_of(sequences)
    rows = np.flatnonzero(np.diff(targets.offsets))
    if len(rows) > config.gates.max_users:
        rows = np.sort(np.random.default_rng(config.seed).choice(rows, config.gates.max_users, replace=False))
    targets = targets.subset(np.isin(targets.user, rows))
    requests = step.held_out_requests(split, sequences.user_id[rows].tolist())
    item_ids = np.concatenate([[""], items.item_id])

    last_lists, last_length = _recommend(last_model, requests, "the last blessed model")
    lists, length = _recommend(path_utils.serving_model_path(step.inputs["model"]), requests, "this model")
    k = min(int(document.main_metric(evaluation).split("@")[1]), last_length, length)
    ranks = PairedRanks(
        candidate=_target_ranks(targets, rows, lists, item_ids),
        last=_target_ranks(targets, rows, last_lists, item_ids),
        targets=targets,
        k=k,
    )
    parts = slices(
        items,
        sequences,
        dataset.train,
        targets,
        clock=has_clock(config.data),
        languages=texts.load_languages(config, step.dataset_paths),
    )
    comparisons, note = judgement.compare(config.gates, ranks, parts, config.seed)
    return comparisons, k, note


def _recommend(directory: str, requests: list[UserRequest], title: str) -> tuple[list[list[str]], int]:
    """(the item ids that an export recommends for each request, the length that it gives its lists)."""
    model = ExportedModel(directory)
    answers = model.recommend(requests, lambda count: progress.update(f"{title}: {count:,} of {len(requests):,} users"))
    return [answer.item_ids for answer in answers], model.metadata["config"]["serving"]["k"]


def _target_ranks(targets: Targets, rows: np.ndarray, lists: list[list[str]], item_ids: np.ndarray) -> np.ndarray:
    """int64 [targets], ranks from 1; 0 if a target is not in the user's list. Items new to a model never are."""
    ranks = np.zeros(len(targets.item), np.int64)
    for row, recommended in zip(rows, lists, strict=True):
        rank_of = {item_id: rank for rank, item_id in enumerate(recommended, 1)}
        for target in range(targets.offsets[row], targets.offsets[row + 1]):
            ranks[target] = rank_of.get(item_ids[targets.item[target]], 0)
    return ranks


class QualityGateSpec(component_spec.ComponentSpec):
    PARAMETERS = {
        "config": component_spec.ExecutionParameter(type=str),
        "serving_directory": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        **DATASET_INPUTS,
        "ingested": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "last_blessed": component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS = {"verdict": component_spec.ChannelParameter(type=GateVerdict)}


class QualityGate(base_component.BaseComponent):
    """Compares the export's quality with limits, baselines and the last blessed model, overall and on slices.

    The last blessed model and this one answer the same requests, made from the present data. An older model cannot
    recommend items that it does not know.

    Args:
      dataset: the transformed dataset.
      ingested: the sequences before Transform, from which the requests are made.
      evaluation: output of the Evaluator.
      model: the export.
      last_blessed: the export that was blessed last; None if the runner cannot look it up.
      serving_directory: directory of pushed models, whose newest version may stand for the last blessed one.
      config: the run's configuration.
    """

    SPEC_CLASS = QualityGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(QualityGateExecutor)

    def __init__(
        self,
        dataset: DatasetChannels,
        ingested: types.BaseChannel,
        evaluation: types.BaseChannel,
        model: types.BaseChannel,
        last_blessed: types.BaseChannel | None,
        serving_directory: str,
        config: Config,
    ):
        super().__init__(
            QualityGateSpec(
                config=config.restricted("text", "evaluation", "gates").to_json(),
                serving_directory=serving_directory,
                **vars(dataset),
                ingested=ingested,
                evaluation=evaluation,
                model=model,
                last_blessed=last_blessed,
                verdict=types.Channel(type=GateVerdict),
            )
        )
