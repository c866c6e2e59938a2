"""Where a user's sequence is cut into train, validation and test."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tfx_pipeline.ingest import times
from tfx_pipeline.ingest.quarantine_reasons import BrokenRowError
from trainer.config import SplitConfig
from trainer.errors import UsageError

FEWEST_EVENTS = 3  # leave_one_out holds nothing out of shorter sequences


class Cut(NamedTuple):
    """A split's part of one sequence: `sequence[:length]`, of which the last `target_count` events are predicted."""

    split: str
    length: int
    target_count: int


@dataclass(frozen=True)
class Splitter:
    """Cuts sequences as the configuration says. Times are those of `times.time_parser`."""

    kind: str
    test: bool = True
    validation_from: int = 0
    test_from: int = 0

    @classmethod
    def from_config(cls, split: SplitConfig, time_format: str) -> Splitter:
        """Raises UsageError if a date does not read as the time column does, or the dates are the wrong way round."""
        if split.kind == "leave_one_out":
            return cls("leave_one_out", split.test)
        if not split.test:
            raise UsageError("`split.test: false` goes with kind: leave_one_out. Received: kind=time")
        moments = []
        for name in ("validation_from", "test_from"):
            value = getattr(split, name)
            try:
                moments.append(times.time_parser(time_format)(value))
            except BrokenRowError as error:
                raise UsageError(
                    f"`split.{name}` should be a time as the time column has it ({time_format}): {error.reason}. "
                    f"Received: {value!r}"
                ) from None
        if moments[0] >= moments[1]:
            raise UsageError(
                f"`split.validation_from` should be before `split.test_from`. "
                f"Received: {split.validation_from!r} and {split.test_from!r}"
            )
        return cls("time", True, *moments)

    @property
    def names(self) -> tuple[str, ...]:
        return ("train", "validation", "test") if self.test else ("train", "validation")

    def cuts(self, moments: Sequence[int]) -> list[Cut]:
        """The parts of one sequence, whose times `moments` ascend. Each target is in exactly one split."""
        length = len(moments)
        if self.kind == "leave_one_out":
            if length < FEWEST_EVENTS:
                return [Cut("train", length, 0)]
            held_out = len(self.names) - 1
            cuts = [Cut("train", length - held_out, 0)]
            cuts += [Cut(name, length - held_out + 1 + i, 1) for i, name in enumerate(self.names[1:])]
            return cuts
        train = bisect.bisect_left(moments, self.validation_from)
        known = bisect.bisect_left(moments, self.test_from)
        every = [Cut("train", train, 0), Cut("validation", known, known - train), Cut("test", length, length - known)]
        return [cut for cut in every if (cut.target_count or cut.split == "train") and cut.length]
