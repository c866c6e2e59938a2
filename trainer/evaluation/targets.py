"""The held-out items of each user, which recommenders are evaluated on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.data.ragged import offsets_of, ranges
from trainer.data.tables import SequenceTable


@dataclass(frozen=True)
class Targets:
    """Distinct target items of each user: those of user u are `item[offsets[u]:offsets[u + 1]]`."""

    item: np.ndarray  # int32 [targets]
    position: np.ndarray  # int64 [targets], flat positions of their events in the sequence table
    offsets: np.ndarray  # int64 [users + 1]

    @property
    def user(self) -> np.ndarray:
        """int64 [targets]"""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def subset(self, mask: np.ndarray) -> Targets:
        """The targets for which `mask` bool [targets] is true; the users stay the same."""
        counts = np.bincount(self.user[mask], minlength=len(self.offsets) - 1)
        return Targets(self.item[mask], self.position[mask], offsets_of(counts))


def targets_of(sequences: SequenceTable) -> Targets:
    """The items of the last `target_count` events of each user. A repeated item counts once, by its first event."""
    position, user = ranges(sequences.offsets[1:] - sequences.target_count, sequences.offsets[1:])
    pairs, first = np.unique(np.stack([user, sequences.item[position]], axis=1), axis=0, return_index=True)
    counts = np.bincount(pairs[:, 0], minlength=len(sequences))
    return Targets(pairs[:, 1].astype(np.int32), position[first], offsets_of(counts))
