"""Reindexing: pushes a new version of a trained model, with the same weights, a new catalogue and a new index."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass

import numpy as np

from serving.export import exporter
from serving.export.metadata import summary
from tfx_pipeline.components.pusher import push
from tfx_pipeline.gates.infrastructure.judgement import try_in_server
from tfx_pipeline.ingest.counts import IngestReport
from tfx_pipeline.reindex.catalogue_changes import Changes
from tfx_pipeline.reindex.encode_items import encode_items
from tfx_pipeline.reindex.read_items import read_items
from tfx_pipeline.reindex.workspace import ReindexSettings, Workspace, open_workspace
from tfx_pipeline.runs import trained_run
from tfx_pipeline.runs.run_directory import RunDirectory
from tfx_pipeline.runs.steps import Steps
from tfx_pipeline.runs.trained_run import TrainedRun
from tfx_pipeline.terminal import progress
from tfx_pipeline.terminal.interruption import Interruption
from tfx_pipeline.terminal.screen import Screen
from trainer.data.dataset import Dataset
from trainer.data.tables import ItemTable
from trainer.errors import TowersError
from trainer.files import write_text
from trainer.index import builder
from trainer.index.queries import user_vectors
from trainer.retrieval import new_catalogue
from trainer.retrieval.model import RetrievalModel

_STEPS = ("ReadItems", "EmbedTexts", "Index", "Export", "Validate", "Push")
_REMAINS = "nothing was pushed, and encoded texts are kept"


@dataclass(frozen=True)
class Reindexed:
    """The result of a reindexing; `report.json` has the same fields.

    Attributes:
      model: directory of the pushed version.
      changes: of the run's catalogue.
      unread: number of new items without any content that the model reads; they all have the unknown item's vector.
      items: number of items in the index.
      index: a line that describes the index.
      rows: counts of the table's rows; `rows.quarantine` is the directory of the rows that could not be used.
    """

    model: str
    changes: Changes
    unread: int
    items: int
    index: str
    rows: IngestReport


def reindex(settings: ReindexSettings, directory: RunDirectory, screen: Screen) -> Reindexed:
    """Reads the items table, makes vectors of its items with the trained item tower, and pushes a version with them.

    Items of the run's catalogue keep their learned id embeddings; their texts and features are read again. New items
    get their vectors from texts and features only, like unknown ids in training. Items that are no longer in the table
    are removed, except those that the run knows only from events. The result depends on the run and the table, not on
    earlier reindexings.

    Args:
      settings: what to read, and how.
      directory: the run's directory.
      screen: shows the steps.

    Raises:
      TowersError: a step failed, and nothing was pushed. The message names the step, its log and what to do.
    """
    with directory.locked(), Interruption() as interruption, open_workspace(settings, directory) as workspace:
        steps = Steps(len(_STEPS), directory, screen, interruption, _REMAINS, log_prefix="reindex-")
        with steps.step("ReadItems"):
            rows, changes = read_items(workspace)
        with steps.step("EmbedTexts"):
            run = trained_run.load(directory, ("validation",), settings.config)
            items, texts = encode_items(workspace, run)
        with steps.step("Index"):
            towers = new_catalogue.model_for_catalogue(run.towers, run.dataset.items, items, texts)
            unread = count_unread(towers, items, changes)
            index = _build_index(workspace, run, towers)
        with steps.step("Export"):
            _export(workspace, run, towers, items)
        with steps.step("Validate"):
            progress.summary(try_in_server(workspace.model).summary)
        with steps.step("Push"):
            shutil.rmtree(directory.reindexed / "items", ignore_errors=True)
            shutil.move(workspace.items, directory.reindexed / "items")
            version = push(workspace.model, directory.serving(settings.config.serving.model_name))
            progress.summary(f"version {version.name}")
        result = Reindexed(str(version), changes, unread, len(items), index, rows)
        write_text(directory.reindexed / "report.json", json.dumps(asdict(result), indent=2, ensure_ascii=False) + "\n")
    return result


def count_unread(towers: RetrievalModel, items: ItemTable, changes: Changes) -> int:
    """The number of new items whose vector is the unknown item's, because the model reads none of their content.

    Args:
      towers: the retrieval model, attached to the new catalogue.
      items: the new catalogue.
      changes: names the new items.

    Raises:
      TowersError: there are new items, and the model reads no content of any item.
    """
    if changes.new and not towers.item_tower.inputs.content:
        raise TowersError(
            f"the model knows items only by their ids, so all {len(changes.new)} new items would have the same vector. "
            "Give the items texts or features and train again (`towers run`)."
        )
    vectors, new_ids = towers.item_vectors().numpy(), set(changes.new)
    rows = [row for row, item_id in enumerate(items.item_id, 1) if item_id in new_ids]
    return int(np.isclose(vectors[rows], vectors[0], atol=1e-6).all(axis=1).sum())


def _build_index(workspace: Workspace, run: TrainedRun, towers: RetrievalModel) -> str:
    """Builds the index of the towers' item vectors and returns a line that describes it."""
    config = workspace.config
    queries = user_vectors(config, run.towers, run.dataset.splits["validation"])
    report = builder.build(config.index, towers.item_vectors().numpy(), queries, workspace.index)
    description = builder.describe(report)
    progress.summary(description)
    return description


def _export(workspace: Workspace, run: TrainedRun, towers: RetrievalModel, items: ItemTable) -> None:
    """Exports the models over the new catalogue to `workspace.model`."""
    paths = trained_run.dataset_paths(workspace.run)
    ranker = run.ranker and run.ranker.for_catalogue(new_catalogue.trained_rows(run.dataset.items, items))
    report = exporter.export(
        workspace.config,
        towers,
        ranker,
        index_directory=workspace.index,
        dataset=Dataset(items=items, splits={}, texts=run.dataset.texts),
        sequence_transform=paths.sequence_transform,
        item_transform=paths.item_transform,
        ingested_items=workspace.items,
        directory=workspace.model,
    )
    progress.summary(summary(report))
