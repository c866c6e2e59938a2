"""The verdict of a gate, and its file `verdict.json`."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.files import write_text

FILE = "verdict.json"
_CHECKS_IN_LINE = 2  # a line names only the first checks; file and report have all


@dataclass(frozen=True)
class Check:
    """One comparison of a value with a limit.

    Attributes:
      what: what was checked.
      passed: whether the value is within the limit.
      reason: a clause that states the result with the figures.
    """

    what: str
    passed: bool
    reason: str


def check_limit(what: str, passed: bool, value: str, limit: str) -> Check:
    """A check whose reason has the value and the limit, such as "p99 5.00 ms" and "at most 4 ms"."""
    return Check(what, passed, f"{value} ({limit})" if passed else f"{value}, wanted {limit}")


@dataclass(frozen=True)
class Verdict:
    """The result of one gate. It passes if all of its checks pass; without any check it passes too.

    Attributes:
      gate: the gate's name.
      checks: the results of its checks.
      note: what was not checked, and why; "" if everything was checked.
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
        """The reasons of all failed checks."""
        return [check.reason for check in self.checks if not check.passed]

    @property
    def why(self) -> str:
        """Why the gate refuses the model, in one clause; "" if it does not."""
        return "; ".join(_first_reasons(self.refusals, "failed"))

    def line(self) -> str:
        """The verdict in one line."""
        if not self.passed:
            return f"refused: {self.why}"
        reasons = _first_reasons([check.reason for check in self.checks], "passed")
        notes = [self.note] if self.note else []
        return "; ".join([*reasons, *notes]) or "nothing to check"


def _first_reasons(reasons: list[str], outcome: str) -> list[str]:
    more = len(reasons) - _CHECKS_IN_LINE
    return reasons if more <= 0 else [*reasons[:_CHECKS_IN_LINE], f"and {more} more checks {outcome}"]


def write(directory: str | Path, verdict: Verdict) -> None:
    """Writes `FILE` into a directory that exists."""
    record = {**dataclasses.asdict(verdict), "passed": verdict.passed}
    write_text(Path(directory) / FILE, json.dumps(record, indent=1, ensure_ascii=False))


def read(directory: str | Path) -> Verdict:
    """Reads what `write` wrote."""
    record = json.loads((Path(directory) / FILE).read_text(encoding="utf-8"))
    checks = tuple(Check(**check) for check in record["checks"])
    return Verdict(record["gate"], checks, record["note"], record["measured"])
