"""The gate of quality: limits, baselines, and not worse than what was blessed last."""

from __future__ import annotations

import functools
import os
import tempfile

import numpy as np
from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.io import fileio
from tfx.types import component_spec, standard_artifacts
from tfx.utils import io_utils, path_utils

from serving.export.exported_model import ExportedModel
from tfx_pipeline.artifacts import GateVerdict
from tfx_pipeline.components.dataset_step import DATASET_INPUTS, DatasetChannels, DatasetExecutor, Step
from tfx_pipeline.gates import verdict
from tfx_pipeline.gates.quality import judgement as quality
from tfx_pipeline.gates.quality.judgement import Compared
from tfx_pipeline.gates.verdict import Verdict
from tfx_pipeline.terminal import progress
from trainer.config import Config
from trainer.data import loading
from trainer.data.features import has_clock
from trainer.data.tables import ItemTable
from trainer.evaluation import document
from trainer.evaluation.slices import slices
from trainer.evaluation.targets import Targets, targets_of


class QualityGateExecutor(DatasetExecutor):
    def run(self, step: Step) -> None:
        gates = step.config.gates
        evaluation = document.read(step.inputs["evaluation"])
        checks = quality.limits(gates, evaluation)
        note, measured = "", {}
        with tempfile.TemporaryDirectory(prefix="quality-gate-") as scratch:
            last = _last(step, scratch)
            if last is None and "last_blessed" in step.inputs:
                blessed = path_utils.serving_model_path(step.inputs["last_blessed"])
                checks.append(quality.cannot_compare(blessed, step.serving_directory))
            elif last is None:
                note = "no earlier blessed model to compare with"
            else:
                metric_k = int(document.main_metric(evaluation).split("@")[1])
                compared, k, note = _compared(step, evaluation["split"], last, metric_k)
                checks = quality.not_worse(gates, compared, k) + checks
                measured = {"last_blessed": last, "k": k, "compared": [vars(part) for part in compared]}
        found = Verdict(quality.GATE, tuple(checks), note, measured)
        verdict.write(step.outputs["verdict"], found)
        progress.summary(found.line())


def _last(step: Step, scratch: str) -> str | None:
    """Directory of the SavedModel to compare with, None if there is none: what was blessed last, or, where metadata was
    not asked or its files are gone, the newest version that was pushed.
    """
    if "last_blessed" in step.inputs:
        blessed = path_utils.serving_model_path(step.inputs["last_blessed"])
        if fileio.exists(blessed):
            return blessed
    base = step.serving_directory
    if not base or not fileio.exists(base):
        return None
    versions = [int(name.rstrip("/")) for name in fileio.listdir(base) if name.rstrip("/").isdigit()]
    if not versions:
        return None
    newest = f"{base.rstrip('/')}/{max(versions)}"
    if "://" not in base:
        return newest
    local = os.path.join(scratch, "model")
    io_utils.copy_dir(newest, local)
    return local


def _compared(step: Step, split: str, last: str, k: int) -> tuple[list[Compared], int, str]:
    """Both exports asked for the same held-out users: parts, k and what could not be looked at. The metric is cut where
    the shorter of their lists ends.
    """
    config = step.config
    dataset = step.load_dataset(split)
    sequences, items = dataset.splits[split], dataset.items
    targets = targets_of(sequences)
    rows = np.flatnonzero(np.diff(targets.offsets))
    if len(rows) > config.gates.max_users:
        rows = np.sort(np.random.default_rng(config.seed).choice(rows, config.gates.max_users, replace=False))
    requests = step.held_out_requests(split, sequences.user_id[rows].tolist())
    asked = {"the last blessed model": last, "this one": path_utils.serving_model_path(step.inputs["model"])}
    lists = []
    for title, directory in asked.items():
        model = ExportedModel(directory)
        k = min(k, model.metadata["config"]["serving"]["k"])
        say = functools.partial(_say, title, len(requests))
        lists.append([answer.item_ids for answer in model.recommend(requests, say)])
    targets = targets.subset(np.isin(targets.user, rows))
    last_ranks, ranks = (_ranks(targets, rows, found, items) for found in lists)
    spoken = loading.load_languages(config, step.dataset_paths)
    clock = has_clock(config.data)
    parts = slices(items, sequences, dataset.train, targets, clock=clock, languages=spoken)
    compared, note = quality.compare(config.gates, ranks, last_ranks, targets, parts, k, config.seed)
    return compared, k, note


def _say(title: str, of: int, done: int) -> None:
    progress.update(f"{title}: {done:,} of {of:,} users")


def _ranks(targets: Targets, rows: np.ndarray, lists: list[list[str]], items: ItemTable) -> np.ndarray:
    """int64 [targets], from 1; 0 where a target is on no list, as one is that a model has never heard of."""
    names = np.concatenate([[""], items.item_id])
    ranks = np.zeros(len(targets.item), np.int64)
    for row, found in zip(rows, lists, strict=True):
        place = {item_id: rank for rank, item_id in enumerate(found, 1)}
        for target in range(targets.offsets[row], targets.offsets[row + 1]):
            ranks[target] = place.get(names[targets.item[target]], 0)
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
    """Holds what would be served against limits, baselines and the last blessed model, overall and on slices.

    The last blessed export and this one answer the same requests, made of the present data: what counts is what clients
    would get. An item that the older model has never heard of it can not recommend.

    Args:
      dataset: the transformed dataset.
      ingested: the sequences before Transform: what clients would send.
      evaluation: of the Evaluator.
      model: the export.
      last_blessed: the export that was blessed last; None where the runner cannot find it.
      serving_directory: where blessed models are pushed: the newest version stands for what was blessed last where that
        can not be found or is gone.
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
