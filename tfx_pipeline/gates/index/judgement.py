"""Whether the index finds what exact search finds, and quickly enough."""

from __future__ import annotations

from typing import Any

from tfx_pipeline.gates.verdict import Verdict, against_limit

GATE = "index"


def judge(report: dict[str, Any], p99_milliseconds: float | None) -> Verdict:
    """Holds an index's report against its recall target, and against a latency where one is set.

    Args:
      report: of `trainer.index.builder.build`.
      p99_milliseconds: of one query; None for no limit.
    """
    chosen = [m for m in report["measured"] if (m["kind"], m["parameters"]) == (report["kind"], report["parameters"])]
    if not chosen:
        return Verdict(GATE, note="no held-out queries to measure the index with")
    (measured,) = chosen[:1]
    recall, least = measured["recall"], report["recall_target"]
    title = f"recall@{report['k']}"
    checks = [against_limit(title, recall >= least, f"{title} {recall:.3f}", f"at least {least:g}")]
    if p99_milliseconds is not None:
        p99 = measured["p99_ms"]
        checks.append(
            against_limit("p99", p99 <= p99_milliseconds, f"p99 {p99:.2f} ms", f"at most {p99_milliseconds:g} ms")
        )
    return Verdict(GATE, tuple(checks))
