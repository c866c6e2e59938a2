"""Judges whether an export answers requests as the batch path does."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from serving.export.exported_model import Answer
from tfx_pipeline.gates.verdict import Check, Verdict

GATE = "skew"


@dataclass(frozen=True)
class ExpectedAnswer:
    """What the batch path expects of the answer to one request.

    Attributes:
      scores: item id -> score of each served item. An item that may not be recommended is absent.
      required: item id -> score of the items that should be served. One of them may be absent only if its score ties
        with the last served one. Empty if the export's index is approximate.
      count: the number of items in the answer.
    """

    scores: dict[str, float]
    required: dict[str, float]
    count: int


def judge(
    answers: Sequence[Answer], expected: Sequence[ExpectedAnswer], tolerance: float, unit: float = 1.0
) -> Verdict:
    """Compares the answers of an export with those of the batch path.

    An answer agrees if it has the expected number of distinct items, in descending order of their scores, if each item
    has its expected score, and if no required item is missing. Two items whose scores differ by less than the tolerance
    may come in either order.

    Args:
      answers: one for each request.
      expected: for the same requests.
      tolerance: by which scores may differ: relative to the score, or to `unit` if that is larger.
      unit: the difference in scores that equals a difference of 1 in logits.
    """
    if not answers:
        return Verdict(GATE, note="no held-out users to make requests of")
    largest, disagreements = 0.0, 0
    for answer, expectation in zip(answers, expected, strict=True):
        differences = _differences(answer, expectation, unit)
        largest = max([largest, *filter(math.isfinite, differences)])
        if not _is_well_formed(answer, expectation.count) or any(value > tolerance for value in differences):
            disagreements += 1
    requests = f"{len(answers):,} requests"
    if disagreements:
        reason = f"{disagreements:,} of {requests} are answered differently by the batch path (tolerance {tolerance:g})"
        return Verdict(GATE, (Check("answers", False, reason),))
    scores = f"scores differ by at most {largest:.1g}" if largest else "with equal scores"
    return Verdict(GATE, (Check("answers", True, f"{requests} are answered as by the batch path, {scores}"),))


def _is_well_formed(answer: Answer, count: int) -> bool:
    """Whether an answer has `count` distinct items in descending order of their scores."""
    is_sorted = all(first >= second for first, second in itertools.pairwise(answer.scores.tolist()))
    return len(answer.item_ids) == len(set(answer.item_ids)) == count and is_sorted


def _differences(answer: Answer, expected: ExpectedAnswer, unit: float) -> list[float]:
    """Differences of the served scores from the expected ones, and of the last served score from missing items' scores.

    A required item is missing only if its score is higher than the last served one.
    """

    def difference(score: float, expected_score: float) -> float:
        value = abs(score - expected_score) / max(unit, abs(expected_score))
        return value if math.isfinite(value) else math.inf  # NaN and infinity exceed every tolerance

    scores = answer.scores.tolist()
    differences = [
        difference(score, expected.scores.get(item_id, math.nan))
        for item_id, score in zip(answer.item_ids, scores, strict=True)
    ]
    if scores:
        absent = [score for item_id, score in expected.required.items() if item_id not in answer.item_ids]
        differences += [difference(scores[-1], score) for score in absent if not score <= scores[-1]]
    return differences
