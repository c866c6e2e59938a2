"""What the ranking model learns from: a user's choice among what retrieval offered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.batches import Batch, request_batch
from trainer.data.tables import UNKNOWN_ITEM, SequenceTable
from trainer.errors import TowersError
from trainer.evaluation.candidates import event_pairs, exclusion_start
from trainer.retrieval.model import RetrievalModel

RANDOM_ITEMS = 1  # a stream of random numbers of its own


@dataclass(frozen=True)
class Choices:
    """Events that users chose, and the histories they chose them from: flat positions in a sequence table, each [m]."""

    user: np.ndarray
    place: np.ndarray  # of the event that was chosen
    start: np.ndarray
    stop: np.ndarray  # the history is start..stop


def train_choices(config: Config, train: SequenceTable) -> Choices:
    """The last train events of some users, each with all that came before it.

    Raises:
      TowersError: no user has two train events.
    """
    settings = config.ranking
    lengths = np.diff(train.offsets)
    users = np.flatnonzero(lengths >= 2)
    if len(users) == 0:
        raise TowersError("no user has two train events: nothing to train the ranking on. Set ranking.enabled: false.")
    users = _some(users, config)
    # The first event has no history: it says nothing about order.
    counts = np.minimum(lengths[users] - 1, settings.events_per_user)
    user = np.repeat(users, counts)
    place = train.offsets[1:][user] - 1 - _steps(counts)
    return _choices(config, train, user, place, place)


def target_choices(config: Config, held_out: SequenceTable) -> Choices:
    """The targets of some users, each with what came before all of them."""
    users = _some(np.flatnonzero(held_out.target_count), config)
    counts = held_out.target_count[users]
    user = np.repeat(users, counts)
    stop = held_out.offsets[1:][user] - held_out.target_count[user]
    return _choices(config, held_out, user, stop + _steps(counts), stop)


def _some(users: np.ndarray, config: Config) -> np.ndarray:
    most = config.ranking.max_training_users
    if len(users) <= most:
        return users
    return np.sort(np.random.default_rng(config.seed).choice(users, most, replace=False))


def _steps(counts: np.ndarray) -> np.ndarray:
    """0..count - 1 for each count, one after another."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _choices(
    config: Config, sequences: SequenceTable, user: np.ndarray, place: np.ndarray, stop: np.ndarray
) -> Choices:
    start = np.maximum(sequences.offsets[:-1][user], stop - config.model.max_history)
    # What a user has and should not be offered again, can not be chosen.
    since = exclusion_start(config, sequences, user, stop)
    item = sequences.item
    kept = [item[i] not in item[first:after] for i, first, after in zip(place, since, stop, strict=True)]
    order = np.flatnonzero(kept)
    order = order[np.argsort((stop - start)[order], kind="stable")]  # little padding
    return Choices(user[order], place[order], start[order], stop[order])


class _Owned:
    """Which user has which item in a sequence table, and since when."""

    def __init__(self, sequences: SequenceTable) -> None:
        self._items = int(sequences.item.max(initial=0)) + 1
        self._end = len(sequences.item)
        owner = np.repeat(np.arange(len(sequences)), np.diff(sequences.offsets))
        self._pairs, self._first = np.unique(owner * self._items + sequences.item, return_index=True)

    def since(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """The flat position of the user's first event with the item, or one beyond all events: int64 as `item`."""
        pair = np.where(item < self._items, user * self._items + item, -1)
        place = np.minimum(np.searchsorted(self._pairs, pair), len(self._pairs) - 1)
        return np.where(self._pairs[place] == pair, self._first[place], self._end)


class RankingExamples:
    """(history, chosen item, what retrieval offered instead).

    What the user takes later counts neither as chosen nor as passed over. Where retrieval's best are all that a model
    ever sees, it knows nothing of candidates that come from elsewhere: random items are offered beside them.

    Args:
      config: the configuration.
      retrieval: the trained retrieval model.
      sequences: a split.
      choices: of that split, from `train_choices` or `target_choices`.
      item_vectors: `retrieval.item_vectors()`.
      allowed: bool [n + 1], items that may be offered.
      random: how many random items to offer too; a place is left empty where one is drawn that is on the list already,
        or that the user has.
    """

    def __init__(
        self,
        config: Config,
        retrieval: RetrievalModel,
        sequences: SequenceTable,
        choices: Choices,
        item_vectors: tf.Tensor,
        allowed: np.ndarray,
        random: int = 0,
    ) -> None:
        self._config, self._sequences, self._columns = config, sequences, retrieval.columns
        self.choices = choices
        count = min(config.ranking.candidates, int(allowed.sum()))
        candidates, scores, vectors = [np.zeros([0, count + random])], [np.zeros([0, count + random])], []
        generator, owned = np.random.default_rng([config.seed, RANDOM_ITEMS]), _Owned(sequences)
        offered = [np.zeros(0, bool)]
        for first in range(0, len(choices.user), 512):
            rows = slice(first, first + 512)
            user = choices.user[rows]
            batch = {name: tf.constant(value) for name, value in self._requests(rows).items()}
            # What may not come back is off the list, and all that the user takes later.
            since = exclusion_start(config, sequences, user, choices.stop[rows])
            excluded = event_pairs(sequences, since, sequences.offsets[1:][user])
            found = retrieval.search(batch, item_vectors, tf.constant(allowed), excluded, tf.constant(count))
            chosen = sequences.item[choices.place[rows]]
            chosen_score = tf.reduce_sum(found[2] * tf.gather(item_vectors, chosen), axis=1).numpy()
            others = found[0].numpy()
            offered.append(chosen_score >= others[:, -1])
            listed = np.column_stack([chosen, found[1][:, :-1]])
            drawn = generator.choice(np.flatnonzero(allowed), [len(user), random])
            known = (drawn[:, :, np.newaxis] == listed[:, np.newaxis]).any(axis=2)
            known |= np.tril(drawn[:, :, np.newaxis] == drawn[:, np.newaxis], k=-1).any(axis=2)  # drawn before
            known |= owned.since(np.repeat(user, random), drawn.ravel()).reshape(drawn.shape) < len(sequences.item)
            drawn_scores = tf.einsum("bd,brd->br", found[2], tf.gather(item_vectors, drawn)).numpy()
            candidates.append(np.column_stack([listed, np.where(known, UNKNOWN_ITEM, drawn)]))
            scores.append(np.column_stack([chosen_score, others[:, :-1], np.where(known, -np.inf, drawn_scores)]))
            vectors.append(found[2].numpy())
        self._candidates = np.concatenate(candidates).astype(np.int32)  # [examples, N + random], the chosen one first
        self._scores = np.concatenate(scores).astype(np.float32)  # [examples, N]
        self._vectors = np.concatenate(vectors) if vectors else np.zeros([0, int(item_vectors.shape[1])], np.float32)
        self.offered = np.concatenate(offered)  # [examples], whether retrieval would have offered what was chosen

    def __len__(self) -> int:
        return len(self.choices.user)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """One epoch from batch number `first` on, in an order given by (seed, epoch).

        Rows of a batch have histories of like length.
        """
        size = self._config.ranking.batch_size
        generator = np.random.default_rng([self._config.seed, epoch])
        starts = np.arange(-int(generator.integers(size)), len(self), size)
        order = generator.permutation(starts)
        pieces = [slice(max(start, 0), min(start + size, len(self))) for start in order]
        for rows in [rows for rows in pieces if rows.start < rows.stop][first:]:
            yield self._batch(rows)

    def in_order(self) -> Iterator[Batch]:
        """All examples, as `choices` has them."""
        size = self._config.ranking.batch_size
        for first in range(0, len(self), size):
            yield self._batch(slice(first, first + size))

    def _batch(self, rows: slice) -> Batch:
        requests = self._requests(rows)
        batch = {
            "item_index": requests["item_index"],
            "length": requests["length"],
            "user_vector": self._vectors[rows],
            "candidate": self._candidates[rows],
            "retrieval_score": self._scores[rows],
        }
        if "rating" in requests:
            batch["rating"] = requests["rating"]
        if self._sequences.rating is not None:
            batch["target_rating"] = self._sequences.rating[self.choices.place[rows]]
        return batch

    def _requests(self, rows: slice) -> Batch:
        settings, choices = self._config.evaluation, self.choices
        return request_batch(
            self._sequences,
            self._columns,
            choices.user[rows],
            choices.start[rows],
            choices.stop[rows],
            with_query=settings.with_query,
            with_timestamp=settings.with_timestamp,
        )
