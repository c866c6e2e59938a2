"""Checks of an ingestion's counts. Each raises TowersError with what to do."""

from __future__ import annotations

import json
from collections import Counter

from tfx_pipeline.ingest.counts import IngestReport
from tfx_pipeline.ingest.readers.base import missing_column
from trainer.config import SplitConfig
from trainer.errors import TowersError

_LISTED_REASONS = 3


def check_files(tally: Counter) -> None:
    """Raises if a file cannot be used as a whole, or if a column is in none of a table's files."""
    problems = sorted(key[1] for key in tally if key[0] == "problem")
    if problems:
        more = f" ({len(problems) - 1} more files have problems)" if len(problems) > 1 else ""
        raise TowersError(problems[0] + more)
    for _, table, column, path, columns in sorted(key for key in tally if key[0] == "unseen"):
        if ("seen", table, column) not in tally:
            raise TowersError(f"{table}: {missing_column(path, column, json.loads(columns))}")


def check_rows(report: IngestReport, max_bad_row_rate: float) -> None:
    """Raises if a table is empty, or if too many of its rows are broken."""
    for name, table in report.tables.items():
        if table.rows == 0:
            files = "1 file" if table.files == 1 else f"{table.files} files"
            raise TowersError(f"{name}: the table is empty (no data rows in {files})")
        broken = sum(table.broken.values())
        if broken > max_bad_row_rate * table.rows or table.used <= 0:
            reasons = list(table.broken.items())[:_LISTED_REASONS]
            commonest = ", ".join(f"{reason} ({count})" for reason, count in reasons)
            limit = "none can be used" if table.used <= 0 else f"`max_bad_row_rate` is {max_bad_row_rate:g}"
            raise TowersError(
                f"{name}: {broken} of {table.rows} rows are broken, {limit}; commonest: {commonest}. "
                f"The rows are in {report.quarantine}: put them right or raise `data.max_bad_row_rate`."
            )


def check_splits(report: IngestReport, split: SplitConfig) -> None:
    """Raises if a split is empty."""
    for name in report.sequences:
        if report.events[name]:
            continue
        if split.kind == "leave_one_out":
            raise TowersError(
                f"no user has 3 events, so no {name} event can be held out ({report.users} users, "
                f"{report.events['all']} events). Give more interactions, or check `data.interactions.user_id`."
            )
        place = {
            "train": f"before validation_from={split.validation_from}",
            "validation": f"from validation_from={split.validation_from} to test_from={split.test_from}",
            "test": f"from test_from={split.test_from} on",
        }[name]
        raise TowersError(f"no event lies {place}, so the {name} split is empty. Check `data.split`.")
