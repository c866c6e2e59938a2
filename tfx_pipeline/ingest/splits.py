"""Cuts a user's sequence into train, validation and test."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tfx_pipeline.ingest.cells.times import time_parser
from tfx_pipeline.ingest.quarantine_reasons import BrokenRowError
from trainer.config import SplitConfig
from trainer.errors import UsageError

MIN_EVENTS = 3  # leave_one_out holds out events of sequences that are at least this long


class Cut(NamedTuple):
    """A split's part of one sequence: `sequence[:length]`, of which the last `target_count` events are predicted."""

    split: str
    length: int
    target_count: int


@dataclass(frozen=True)
class Splitter:
    """Cuts sequences as the configuration says.

    Attributes:
      kind: 'leave_one_out' or 'time'.
      test: whether there is a test split.
      validation_from, test_from: with 'time', the first times of these splits, as `cells.times.time_parser` returns
        times.
    """

    kind: str
    test: bool = True
    validation_from: int = 0
    test_from: int = 0

    @classmethod
    def from_config(cls, split: SplitConfig, time_format: str) -> Splitter:
        """Raises UsageError if a date does not have the format of the time column, or the dates do not ascend."""
        if split.kind == "leave_one_out":
            return cls("leave_one_out", split.test)
        if not split.test:
            raise UsageError("`split.test: false` needs `split.kind: leave_one_out`. Received: `kind=time`")
        moments = []
        for name in ("validation_from", "test_from"):
            value = getattr(split, name)
            try:
                moments.append(time_parser(time_format)(value))
            except BrokenRowError as error:
                raise UsageError(
                    f"`split.{name}` should be a time in the time column's format ({time_format}): {error.reason}. "
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
        """The parts of one sequence whose events are at the ascending times `moments`.

        Each target is in exactly one split. Splits without events are left out.
        """
        length = len(moments)
        if self.kind == "leave_one_out":
            if length < MIN_EVENTS:
                return [Cut("train", length, 0)]
            held_out = len(self.names) - 1
            cuts = [Cut("train", length - held_out, 0)]
            cuts += [Cut(name, length - held_out + 1 + i, 1) for i, name in enumerate(self.names[1:])]
            return cuts
        train_length = bisect.bisect_left(moments, self.validation_from)
        validation_length = bisect.bisect_left(moments, self.test_from)
        cuts = [
            Cut("train", train_length, 0),
            Cut("validation", validation_length, validation_length - train_length),
            Cut("test", length, length - validation_length),
        ]
        return [cut for cut in cuts if (cut.target_count or cut.split == "train") and cut.length]
