"""Checks decisions on the built-in data: which models the gates refuse, and which differences a comparison reports.

Models that are worse on purpose, and a better one, are run one after another in one directory: the gates compare each
with the model that was blessed last. Then two seeds of one model are compared, and ids alone with ids and texts.

Command:  .venv/bin/python benchmarks/decisions.py --work DIR
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from prepared import ROOT

_NO_TEXT = {f"model.use_{kind}": "false" for kind in ("item_text", "item_reviews", "event_text", "query")}


@dataclass(frozen=True)
class Case:
    """A model, and the expected decision. `refused_by` is a pattern of the gate and its reason; None = pushed."""

    name: str
    settings: dict[str, str] = field(default_factory=dict)
    refused_by: str | None = None


CASES = (
    Case("without text, the first of all", _NO_TEXT),
    Case("with text: better"),
    Case(
        "without text, again: new items are not recommended",
        _NO_TEXT,
        r"quality: .*\(popularity of the item: at most 5",
    ),
    Case(
        "random item vectors",
        {"retrieval.epochs": "1", "retrieval.learning_rate": "1.0e-9"},
        r"quality: .*\(all users\): worse than",
    ),
    Case("worse for cold items alone", {"model.id_dropout": "0"}, r"quality: .*\(popularity of the item: at most 5"),
    Case("an index slower than the limit", {"gates.index_p99_milliseconds": "0.001"}, "index: p99"),
    Case("a limit that is not reached", {"gates.least": '{"ndcg@10": 0.5}'}, "quality: ndcg@10 .* at least 0.5"),
)


COMPARISONS = {
    "two seeds of one model": ({}, {"seed": "2"}, "not told apart"),
    "ids alone, and ids and texts": (_NO_TEXT, {}, "better"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, type=Path)
    work = parser.parse_args().work.resolve()
    if not (work / "data").exists():
        _towers("data", "demo", "--out", str(work / "data"))
    for case in CASES:
        _print_result(case.name, *_run_case(case, work))
    for name, (first, second, expected) in COMPARISONS.items():
        _print_result(name, *_compare(first, second, expected, work))


def _print_result(name: str, as_expected: bool, decision: str) -> None:
    print(f"{'expected' if as_expected else 'UNEXPECTED':<11}{name}\n{'':<11}{decision}", flush=True)


def _run_case(case: Case, work: Path) -> tuple[bool, str]:
    done = _run(work, "run", case.settings)
    refusal = re.search(r"the model was not pushed: (.*?)\. What is served", done.stderr.strip().splitlines()[-1])
    if done.returncode and not refusal:
        raise SystemExit(f"{case.name}: {done.stderr}")
    if case.refused_by is None:
        return not refusal, refusal[1] if refusal else "pushed"
    return bool(refusal and re.search(case.refused_by, refusal[1])), refusal[1] if refusal else "pushed"


def _compare(first: dict[str, str], second: dict[str, str], expected: str, work: Path) -> tuple[bool, str]:
    """Compares NDCG@10 of two runs, each in its own directory."""
    runs = []
    for settings in (first, second):
        name = "_".join(settings).replace(".", "_") or "default"
        done = _run(work, name, settings)
        if done.returncode:
            raise SystemExit(done.stderr)
        runs.append(str(work / name))
    table = _towers("report", "--compare", *runs).stdout
    (row,) = [line for line in table.splitlines() if line.startswith("ndcg@10")]
    return row.endswith(expected), f"NDCG@10, A, B, B less A, interval, p: {' '.join(row.split()[1:])}"


def _run(work: Path, name: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    print(f"{name}: {settings} ...", file=sys.stderr, flush=True)
    settings = {"text.store": str(work / "texts"), **settings}
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    config = str(ROOT / "configs" / "demo.yaml")
    return _towers("run", "--config", config, "--data", str(work / "data"), "--out", str(work / name), *sets)


def _towers(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(ROOT / "towers"), *arguments], check=False, capture_output=True, text=True)


if __name__ == "__main__":
    main()
