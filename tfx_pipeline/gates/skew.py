"""Whether requests are answered as the batch path, which evaluation goes by, answers them."""

from __future__ import annotations

from collections.abc import Sequence

from serving.exported_model import Answer
from tfx_pipeline.gates.verdict import Check, Verdict

GATE = "skew"


def judge(served: Sequence[Answer], batch: Sequence[dict[str, float]], k: int, tolerance: float) -> Verdict:
    """Holds served lists against the batch path's.

    A list agrees where every item has its score, and stands where an item of that score may stand: of two whose scores
    lie within the tolerance either may come first.

    Args:
      served: a list each user.
      batch: item id -> score of the same users' best items, best first, deeper than what is served.
      k: items in a served list, where so many are allowed.
      tolerance: by which scores may differ, in shares of the score where that is more than 1.
    """
    if not served:
        return Verdict(GATE, note="no held-out users to ask for")
    apart, farthest = 0, 0.0
    for answer, scores in zip(served, batch, strict=True):
        at_place = list(scores.values())
        far = len(answer.item_ids) != min(k, len(at_place))
        for item_id, score, expected in zip(answer.item_ids, answer.scores, at_place, strict=False):
            own = scores.get(item_id)
            if own is None:
                far = True
                continue
            difference = max(abs(score - own), abs(own - expected)) / max(1.0, abs(expected))
            farthest = max(farthest, float(difference))
            far |= difference > tolerance
        apart += far
    users = f"{len(served):,} requests"
    figures = f"scores at most {farthest:.1g} apart" if farthest else "with the same scores"
    if not apart:
        return Verdict(GATE, (Check("answers", True, f"{users} answered as by the batch path, {figures}"),))
    reason = f"{apart:,} of {users} are not answered as by the batch path (tolerance {tolerance:g})"
    return Verdict(GATE, (Check("answers", False, reason),))
