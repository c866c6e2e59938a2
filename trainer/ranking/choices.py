"""The events that the ranking model learns from: each is a user's choice, made after a history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.config import Config
from trainer.data.ragged import ranges
from trainer.data.tables import SequenceTable
from trainer.errors import TowersError
from trainer.evaluation.candidates import exclusion_start


@dataclass(frozen=True)
class Choices:
    """Chosen events and the histories before them. Positions are flat positions of events in a sequence table."""

    user: np.ndarray  # int64 [m], row of the sequence table
    position: np.ndarray  # int64 [m], of the chosen event
    start: np.ndarray  # int64 [m]
    stop: np.ndarray  # int64 [m]; the history is `start:stop`

    def __len__(self) -> int:
        return len(self.user)

    def __getitem__(self, rows: slice | np.ndarray) -> Choices:
        return Choices(self.user[rows], self.position[rows], self.start[rows], self.stop[rows])


def train_choices(config: Config, train: SequenceTable) -> Choices:
    """The last `ranking.events_per_user` train events of sampled users, each with the history before it.

    Raises:
      TowersError: no user has two train events.
    """
    lengths = np.diff(train.offsets)
    users = np.flatnonzero(lengths >= 2)
    if len(users) == 0:
        raise TowersError("no user has two train events: nothing to train the ranking on. Set ranking.enabled: false.")
    users = _sampled(users, config)
    # A user's first event has no history, so nothing about the order of a list can be learnt from it.
    counts = np.minimum(lengths[users] - 1, config.ranking.events_per_user)
    later_events, row = ranges(np.zeros_like(counts), counts)
    position = train.offsets[1:][users[row]] - 1 - later_events
    return _choosable(config, train, users[row], position, position)


def target_choices(config: Config, held_out: SequenceTable) -> Choices:
    """The targets of sampled users, each with the history before the user's first target."""
    users = _sampled(np.flatnonzero(held_out.target_count), config)
    end = held_out.offsets[1:][users]
    first_target = end - held_out.target_count[users]
    position, row = ranges(first_target, end)
    return _choosable(config, held_out, users[row], position, first_target[row])


def _sampled(users: np.ndarray, config: Config) -> np.ndarray:
    limit = config.ranking.max_training_users
    if len(users) <= limit:
        return users
    return np.sort(np.random.default_rng(config.seed).choice(users, limit, replace=False))


def _choosable(
    config: Config, sequences: SequenceTable, user: np.ndarray, position: np.ndarray, stop: np.ndarray
) -> Choices:
    """The events whose item may be recommended after the history that ends at `stop`, short histories first."""
    excluded_start = exclusion_start(config, sequences, user, stop)
    item = sequences.item
    choosable = [
        item[chosen] not in item[first:after]
        for chosen, first, after in zip(position, excluded_start, stop, strict=True)
    ]
    choices = Choices(user, position, np.maximum(sequences.offsets[:-1][user], stop - config.model.max_history), stop)
    choices = choices[np.flatnonzero(choosable)]
    return choices[np.argsort(choices.stop - choices.start, kind="stable")]  # so that batches need little padding
