"""How many rows were read, used and quarantined, and what became of them: `counts.json` and the checks on it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import apache_beam as beam
import tensorflow as tf

from tfx_pipeline.ingest import readers
from trainer.errors import TowersError

TABLES = ("interactions", "users", "items")
_COMMONEST = 3


@dataclass
class TableCounts:
    """`rows` = `used` + the sum of `broken`."""

    files: int = 0
    rows: int = 0
    used: int = 0
    broken: dict[str, int] = field(default_factory=dict)  # quarantined rows by reason
    notes: dict[str, int] = field(default_factory=dict)  # what was put right or left out on purpose


@dataclass
class IngestReport:
    """What one ingestion did. `counts.json` beside the quarantine holds the same."""

    tables: dict[str, TableCounts]
    users: int  # with at least one usable event
    items: int  # in the catalogue
    items_occurring: int  # in any event
    items_without_row: int  # occurring, but in no items table
    events: dict[str, int]  # 'all', and a split's: its training events, or its targets
    sequences: dict[str, int]  # a split's examples
    quarantine: str = ""  # directory

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    def table(self) -> str:
        """The counts for people, a line each."""
        lines = []
        for name, counts in self.tables.items():
            lines.append(
                f"{name:<14}{counts.rows:>12,} rows, {counts.used:,} used, {sum(counts.broken.values()):,} broken"
            )
            for reasons, mark in ((counts.broken, "broken"), (counts.notes, "note")):
                lines += [f"{'':<14}{count:>12,} {mark}: {reason}" for reason, count in reasons.items()]
        lines.append(f"{'users':<14}{self.users:>12,} with events")
        lines.append(
            f"{'catalogue':<14}{self.items:>12,} items, {self.items_occurring:,} occur, "
            f"{self.items_without_row:,} of these are in no items table"
        )
        for name, sequences in self.sequences.items():
            lines.append(f"{name:<14}{self.events[name]:>12,} events of {sequences:,} users")
        return "\n".join(lines)

    @classmethod
    def from_json(cls, text: str) -> IngestReport:
        values = json.loads(text)
        values["tables"] = {name: TableCounts(**counts) for name, counts in values["tables"].items()}
        return cls(**values)


class SumTallies(beam.CombineFn):
    """Adds up Counters (negative counts included)."""

    def create_accumulator(self) -> Counter:
        return Counter()

    def add_input(self, accumulator: Counter, tally: Counter) -> Counter:
        accumulator.update(tally)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Counter]) -> Counter:
        total: Counter = Counter()
        for accumulator in accumulators:
            total.update(accumulator)
        return total

    def extract_output(self, accumulator: Counter) -> Counter:
        return accumulator


def write_tally(tally: Counter, path: str) -> None:
    with tf.io.gfile.GFile(path, "w") as file:
        json.dump(sorted((list(key), count) for key, count in tally.items()), file)


def read_tally(path: str) -> Counter:
    with tf.io.gfile.GFile(path) as file:
        return Counter({tuple(key): count for key, count in json.load(file)})


def to_report(tally: Counter, tables: list[str], splits: Iterable[str]) -> IngestReport:
    def by_reason(table: str, kind: str) -> dict[str, int]:
        found = {key[2]: count for key, count in tally.items() if key[:2] == (table, kind) and count}
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))

    return IngestReport(
        tables={
            table: TableCounts(
                files=tally[table, "files"],
                rows=tally[table, "rows"],
                used=tally[table, "used"],
                broken=by_reason(table, "quarantined"),
                notes=by_reason(table, "notes"),
            )
            for table in tables
        },
        users=tally["users", "with events"],
        items=tally["catalogue", "all"],
        items_occurring=tally["catalogue", "occurring"],
        items_without_row=tally["catalogue", "without row in the items table"],
        events={name: tally["events", name] for name in ("all", *splits)},
        sequences={name: tally["sequences", name] for name in splits},
    )


def check_files(tally: Counter) -> None:
    """Raises TowersError if a file could not be used as a whole, or a column is in none of a table's files."""
    problems = sorted(key[1] for key in tally if key[0] == "problem")
    if problems:
        more = f" ({len(problems) - 1} more files have problems)" if len(problems) > 1 else ""
        raise TowersError(problems[0] + more)
    for _, table, column, path, columns in sorted(key for key in tally if key[0] == "unseen"):
        if ("seen", table, column) not in tally:
            raise TowersError(f"{table}: {readers.missing_column(path, column, json.loads(columns))}")


def check_rows(report: IngestReport, max_bad_row_rate: float) -> None:
    """Raises TowersError if a table is empty or too many of its rows are broken."""
    for name, table in report.tables.items():
        if table.rows == 0:
            raise TowersError(f"{name}: the table is empty (no data rows in {_files(table.files)})")
        bad = sum(table.broken.values())
        if bad > max_bad_row_rate * table.rows or table.used <= 0:
            commonest = ", ".join(f"{reason} ({count})" for reason, count in list(table.broken.items())[:_COMMONEST])
            limit = "none can be used" if table.used <= 0 else f"`max_bad_row_rate` is {max_bad_row_rate:g}"
            raise TowersError(
                f"{name}: {bad} of {table.rows} rows are broken, {limit}; commonest: {commonest}. "
                f"The rows are in {report.quarantine}: put them right or raise `data.max_bad_row_rate`."
            )


def check_splits(report: IngestReport, split: Any) -> None:
    """Raises TowersError if a split would be empty."""
    for name, count in report.events.items():
        if count:
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


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def configured_tables(config: Any) -> list[str]:
    """The tables that a DataConfig names."""
    return [table for table in TABLES if getattr(config, table) is not None]
