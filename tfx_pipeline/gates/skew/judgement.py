"""Whether requests are answered as the batch path, which evaluation goes by, answers them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from serving.export.exported_model import Answer
from tfx_pipeline.gates.verdict import Check, Verdict

GATE = "skew"


@dataclass(frozen=True)
class Batch:
    """What the batch path makes of one request.

    Attributes:
      scores: of the items that were served; one that may not be recommended is not among them.
      best: its own list, as far as no rounding could have kept an item from it; {} where the served index approximates.
      count: how many items a list has.
    """

    scores: dict[str, float]
    best: dict[str, float]
    count: int


def judge(served: Sequence[Answer], batch: Sequence[Batch], tolerance: float, unit: float = 1.0) -> Verdict:
    """Holds served lists against the batch path's.

    A list agrees where every item may be served, is there once and has its score, where items follow each other by
    their scores, and where none is missing that belongs above the last: of two whose scores lie within the tolerance
    either may come first.

    Args:
      served: a list each user.
      batch: of the same users.
      tolerance: by which scores may differ, in units, or in shares of the score where that is more than one unit.
      unit: a score that stands for a logit of 1.
    """
    if not served:
        return Verdict(GATE, note="no held-out users to ask for")

    def apart(score: float, own: float) -> float:
        """NaN and infinity are as far from anything as can be."""
        difference = abs(score - own) / max(unit, abs(own))
        return difference if math.isfinite(difference) else math.inf

    agree, farthest = 0, 0.0
    for answer, own in zip(served, batch, strict=True):
        scores = [float(score) for score in answer.scores]
        differences = [
            apart(score, own.scores.get(item_id, math.nan))
            for item_id, score in zip(answer.item_ids, scores, strict=True)
        ]
        in_order = all(first >= second for first, second in itertools.pairwise(scores))
        missing = [score for item_id, score in own.best.items() if item_id not in answer.item_ids]
        # What is missing should stand no higher than the last that was served.
        differences += [apart(scores[-1], score) for score in missing if scores and not score <= scores[-1]]
        far = len(scores) != own.count or len(set(answer.item_ids)) != own.count or not in_order
        farthest = max([farthest, *(difference for difference in differences if math.isfinite(difference))])
        agree += not far and all(difference <= tolerance for difference in differences)
    users = f"{len(served):,} requests"
    if agree == len(served):
        figures = f"scores at most {farthest:.1g} apart" if farthest else "with the same scores"
        return Verdict(GATE, (Check("answers", True, f"{users} answered as by the batch path, {figures}"),))
    reason = f"{len(served) - agree:,} of {users} are not answered as by the batch path (tolerance {tolerance:g})"
    return Verdict(GATE, (Check("answers", False, reason),))
