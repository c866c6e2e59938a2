"""Reads the items table again and compares it with the run's catalogue."""

from __future__ import annotations

import shutil
from pathlib import Path

from tfx_pipeline.ingest import dataset as ingestion
from tfx_pipeline.ingest.catalogue import CataloguePaths, ingest_items
from tfx_pipeline.ingest.counts import IngestReport
from tfx_pipeline.reindex import catalogue_changes
from tfx_pipeline.reindex.catalogue_changes import Changes, Row
from tfx_pipeline.reindex.workspace import Workspace
from tfx_pipeline.runs.run_directory import RunDirectory
from tfx_pipeline.terminal import progress
from trainer.errors import TowersError


def read_items(workspace: Workspace) -> tuple[IngestReport, Changes]:
    """Ingests the items table into `workspace.items`.

    Returns:
      (counts of the table's rows, changes of the run's catalogue).

    Raises:
      TowersError: the table cannot be read, or lacks too many items of the run's catalogue.
    """
    settings, run = workspace.settings, workspace.run
    before = catalogue_changes.read(run.output("Ingest", "items"))
    quarantine = run.reindexed / "quarantine"
    shutil.rmtree(quarantine, ignore_errors=True)
    report = ingest_items(
        settings.config.data,
        settings.data_root,
        CataloguePaths(items=str(workspace.items), quarantine=str(quarantine)),
        items_without_row(before, run),
        workspace.make_pipeline,
    )
    changes = catalogue_changes.compare(before, catalogue_changes.read(workspace.items))
    if len(changes.removed) > settings.max_removed * len(before):
        raise TowersError(
            f"{len(changes.removed)} of the run's {len(before)} items are not in the items table (the first: "
            f"{changes.removed[0]!r}). The table should have all items that may be recommended, not only the new ones. "
            f"To remove so many items, raise --max_removed (now {settings.max_removed:g})."
        )
    progress.summary(
        f"{len(changes.new):,} new, {len(changes.removed):,} removed, {len(changes.changed):,} changed, "
        f"{changes.same:,} unchanged; {sum(report.tables['items'].broken.values()):,} rows quarantined"
    )
    return report, changes


def items_without_row(before: dict[bytes, Row], run: RunDirectory) -> dict[bytes, tuple[int, int]]:
    """Items that the run knows only from events: they had no row in the items table then and need none now.

    Args:
      before: the run's catalogue.
      run: directory of the run.

    Returns:
      item id -> (train events, 1 if it occurs in any event, else 0).
    """
    counts = Path(run.output("Ingest", "quarantine"), ingestion.COUNTS_FILE)
    if not IngestReport.from_json(counts.read_text(encoding="utf-8")).items_without_row:
        return {}
    return {item_id: (row.train_count, row.occurs) for item_id, row in before.items() if row.empty}
