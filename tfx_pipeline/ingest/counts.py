"""The counts of an ingestion: `counts.json`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

COUNTS_FILE = "counts.json"


@dataclass
class TableCounts:
    """Counts of one table. `rows` = `used` + the sum of `broken`."""

    files: int = 0
    rows: int = 0
    used: int = 0
    broken: dict[str, int] = field(default_factory=dict)  # quarantined rows by reason
    notes: dict[str, int] = field(default_factory=dict)  # rows that were corrected or left out on purpose, by reason


@dataclass
class IngestReport:
    """All counts of one ingestion. `counts.json` in the quarantine directory holds the same."""

    tables: dict[str, TableCounts]
    users: int  # with at least one usable event
    items: int  # in the catalogue
    items_occurring: int  # in any event
    items_without_row: int  # occurring, but not in the items table
    events: dict[str, int]  # of 'all', and of each split: its training events, or its targets
    sequences: dict[str, int]  # examples of each split
    quarantine: str = ""  # directory

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> IngestReport:
        values = json.loads(text)
        values["tables"] = {name: TableCounts(**counts) for name, counts in values["tables"].items()}
        return cls(**values)

    @classmethod
    def from_tally(cls, tally: Counter, tables: Iterable[str], splits: Iterable[str], quarantine: str) -> IngestReport:
        """The counts of a tally whose keys are as `tally` describes them."""
        splits = list(splits)
        return cls(
            tables={
                table: TableCounts(
                    files=tally[table, "files"],
                    rows=tally[table, "rows"],
                    used=tally[table, "used"],
                    broken=_by_reason(tally, table, "quarantined"),
                    notes=_by_reason(tally, table, "notes"),
                )
                for table in tables
            },
            users=tally["users", "with events"],
            items=tally["catalogue", "all"],
            items_occurring=tally["catalogue", "occurring"],
            items_without_row=tally["catalogue", "without row in the items table"],
            events={name: tally["events", name] for name in ("all", *splits)},
            sequences={name: tally["sequences", name] for name in splits},
            quarantine=quarantine,
        )

    def table(self) -> str:
        """The counts as text, a line each."""
        lines = []
        for name, counts in self.tables.items():
            lines.append(
                f"{name:<14}{counts.rows:>12,} rows, {counts.used:,} used, {sum(counts.broken.values()):,} broken"
            )
            for by_reason, mark in ((counts.broken, "broken"), (counts.notes, "note")):
                lines += [f"{'':<14}{count:>12,} {mark}: {reason}" for reason, count in by_reason.items()]
        lines.append(f"{'users':<14}{self.users:>12,} with events")
        lines.append(
            f"{'catalogue':<14}{self.items:>12,} items, {self.items_occurring:,} occur, "
            f"{self.items_without_row:,} of these are in no items table"
        )
        for name, sequences in self.sequences.items():
            lines.append(f"{name:<14}{self.events[name]:>12,} events of {sequences:,} users")
        return "\n".join(lines)


def _by_reason(tally: Counter, table: str, kind: str) -> dict[str, int]:
    """Counts that are not zero, the largest first."""
    counts = {key[2]: count for key, count in tally.items() if key[:2] == (table, kind) and count}
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
