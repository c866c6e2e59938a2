"""Judges the index by its recall against exact search and by its latency."""

from __future__ import annotations

from typing import Any

from tfx_pipeline.gates.verdict import Verdict, check_limit

GATE = "index"


def judge(report: dict[str, Any], p99_milliseconds: float | None) -> Verdict:
    """Compares the measurements of the chosen index with its recall target and with a latency limit.

    Args:
      report: of `trainer.index.builder.build`.
      p99_milliseconds: limit for the 99th percentile of one query's latency; None for no limit.
    """
    chosen = (report["kind"], report["parameters"])
    measured = next((m for m in report["measured"] if (m["kind"], m["parameters"]) == chosen), None)
    if measured is None:
        return Verdict(GATE, note="no held-out queries to measure the index with")
    recall, target = measured["recall"], report["recall_target"]
    name = f"recall@{report['k']}"
    checks = [check_limit(name, recall >= target, f"{name} {recall:.3f}", f"at least {target:g}")]
    if p99_milliseconds is not None:
        p99 = measured["p99_ms"]
        limit = f"at most {p99_milliseconds:g} ms"
        checks.append(check_limit("p99", p99 <= p99_milliseconds, f"p99 {p99:.2f} ms", limit))
    return Verdict(GATE, tuple(checks))
