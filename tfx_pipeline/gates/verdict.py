"""What a gate found, and where it is kept."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.files import write_text

FILE = "verdict.json"
_SHOWN = 2  # checks in a line; all are in the file and the report


@dataclass(frozen=True)
class Check:
    """One figure held against a limit.

    Attributes:
      what: what was looked at, in words.
      passed: whether the limit is kept.
      reason: one clause that says so with the figures.
    """

    what: str
    passed: bool
    reason: str


def against_limit(what: str, passed: bool, found: str, limit: str) -> Check:
    """The check of one figure, `found`, against a limit, both in words."""
    return Check(what, passed, f"{found} ({limit})" if passed else f"{found}, wanted {limit}")


@dataclass(frozen=True)
class Verdict:
    """Of one gate.

    Attributes:
      gate: its name.
      checks: what it looked at; a gate that had nothing to look at has none and passes.
      note: what was not looked at, and why; "" if everything was.
      measured: figures for the report.
    """

    gate: str
    checks: tuple[Check, ...] = ()
    note: str = ""
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def refusals(self) -> list[str]:
        return [check.reason for check in self.checks if not check.passed]

    @property
    def why(self) -> str:
        """Why it refuses, in one clause; "" where it does not."""
        return "; ".join(_first(self.refusals, "failed"))

    def line(self) -> str:
        """What there is to say, in one line."""
        if not self.passed:
            return f"refused: {self.why}"
        kept = _first([check.reason for check in self.checks], "passed")
        return "; ".join([*kept, *([self.note] if self.note else [])]) or "nothing to check"


def _first(reasons: list[str], what: str) -> list[str]:
    more = len(reasons) - _SHOWN
    return reasons if more <= 0 else [*reasons[:_SHOWN], f"and {more} more checks {what}"]


def write(directory: str | Path, verdict: Verdict) -> None:
    """Writes `FILE` into a directory that exists."""
    record = {**dataclasses.asdict(verdict), "passed": verdict.passed}
    write_text(Path(directory) / FILE, json.dumps(record, indent=1, ensure_ascii=False))


def read(directory: str | Path) -> Verdict:
    """What `write` wrote."""
    record = json.loads((Path(directory) / FILE).read_text(encoding="utf-8"))
    checks = tuple(Check(**check) for check in record["checks"])
    return Verdict(record["gate"], checks, record["note"], record["measured"])
