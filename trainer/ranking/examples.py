"""Examples for the ranking model: a history, the chosen item, and the other candidates that were not chosen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.batches import Batch, BatchColumns
from trainer.data.tables import UNKNOWN_ITEM, SequenceTable
from trainer.evaluation.candidates import event_pairs, exclusion_start
from trainer.evaluation.requests import requests_at
from trainer.ranking.choices import Choices
from trainer.retrieval.model import RetrievalModel

RANDOM_ITEMS_STREAM = 1  # part of the seed of the random items, to make them independent of other random numbers
RETRIEVED_AT_ONCE = 512  # examples


@dataclass(frozen=True)
class CandidateSource:
    """The retrieval model and the items from which it retrieves the candidates of examples.

    Attributes:
      model: the trained retrieval model.
      item_vectors: its `item_vectors()`.
      allowed: bool [n + 1], items that may be candidates.
    """

    model: RetrievalModel
    item_vectors: tf.Tensor
    allowed: np.ndarray


@dataclass(frozen=True)
class RankingExamples:
    """Choices of users, each with a list of candidates; the first candidate is the chosen item.

    Attributes:
      config: the configuration.
      columns: the features that the requests have.
      sequences: the split that the choices are from.
      choices: one for each of the m examples.
      user_vectors: float32 [m, dim].
      candidates: int32 [m, N] item indices; UNKNOWN_ITEM where there is no candidate.
      scores: float32 [m, N] retrieval scores; -inf where there is no candidate.
      chosen_retrieved: bool [m], whether the chosen item was among the candidates that retrieval returned.
    """

    config: Config
    columns: BatchColumns
    sequences: SequenceTable
    choices: Choices
    user_vectors: np.ndarray
    candidates: np.ndarray
    scores: np.ndarray
    chosen_retrieved: np.ndarray

    def __len__(self) -> int:
        return len(self.choices)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from number `first` on. Their limits and their order depend on (seed, epoch).

        The rows of a batch have histories of similar length.
        """
        size = self.config.ranking.batch_size
        generator = np.random.default_rng([self.config.seed, epoch])
        starts = np.arange(-int(generator.integers(size)), len(self), size)
        order = generator.permutation(starts)
        slices = [slice(max(start, 0), min(start + size, len(self))) for start in order]
        for rows in [rows for rows in slices if rows.start < rows.stop][first:]:
            yield self._batch(rows)

    def in_order(self) -> Iterator[Batch]:
        """All examples, in the order of `choices`."""
        size = self.config.ranking.batch_size
        for first in range(0, len(self), size):
            yield self._batch(slice(first, first + size))

    def _batch(self, rows: slice) -> Batch:
        choices = self.choices[rows]
        requests = _requests(self.config, self.columns, self.sequences, choices)
        batch = {
            "item_index": requests["item_index"],
            "length": requests["length"],
            "user_vector": self.user_vectors[rows],
            "candidate": self.candidates[rows],
            "retrieval_score": self.scores[rows],
        }
        if "rating" in requests:
            batch["rating"] = requests["rating"]
        if self.sequences.rating is not None:
            batch["target_rating"] = self.sequences.rating[choices.position]
        return batch


def build_examples(
    config: Config, source: CandidateSource, sequences: SequenceTable, choices: Choices, random_negatives: int = 0
) -> RankingExamples:
    """Makes the candidate lists of choices: the chosen item, retrieved items, and random negatives.

    Items that the user chooses later in the split are left out, because they are neither chosen nor rejected here.
    Random negatives are added because a model that only sees the best retrieved items learns nothing about others.

    Args:
      config: the configuration.
      source: retrieves the candidates.
      sequences: a split.
      choices: choices of that split.
      random_negatives: number of random items in each list. A random item that is on the list already, or with which
        the user has an event in the split, is left out: its place holds no candidate.
    """
    count = min(config.ranking.candidates, int(source.allowed.sum()))
    negatives = _RandomNegatives(config.seed, source, sequences, random_negatives)
    width = count + random_negatives
    user_vectors = [np.zeros([0, int(source.item_vectors.shape[1])], np.float32)]
    items, scores = [np.zeros([0, width], np.int32)], [np.zeros([0, width], np.float32)]
    chosen_retrieved = [np.zeros(0, bool)]
    for first in range(0, len(choices), RETRIEVED_AT_ONCE):
        part = choices[first : first + RETRIEVED_AT_ONCE]
        lists = _retrieve(config, source, sequences, part, count)
        lists, retrieved = _with_chosen_first(lists, sequences.item[part.position], source.item_vectors)
        lists = negatives.append(lists, part.user)
        user_vectors.append(lists.user_vectors.numpy())
        items.append(lists.items.astype(np.int32))
        scores.append(lists.scores.astype(np.float32))
        chosen_retrieved.append(retrieved)
    return RankingExamples(
        config,
        source.model.columns,
        sequences,
        choices,
        np.concatenate(user_vectors),
        np.concatenate(items),
        np.concatenate(scores),
        np.concatenate(chosen_retrieved),
    )


@dataclass(frozen=True)
class _Lists:
    """Candidate lists of a part of the examples."""

    user_vectors: tf.Tensor  # float32 [B, dim]
    items: np.ndarray  # int [B, N]
    scores: np.ndarray  # float32 [B, N]


def _retrieve(
    config: Config, source: CandidateSource, sequences: SequenceTable, choices: Choices, count: int
) -> _Lists:
    """The best `count` items among those that may be recommended after the history and that are not chosen later."""
    requests = _requests(config, source.model.columns, sequences, choices)
    tensors = {name: tf.constant(value) for name, value in requests.items()}
    start = exclusion_start(config, sequences, choices.user, choices.stop)
    end = sequences.offsets[1:][choices.user]
    excluded = event_pairs(sequences, start, end)
    allowed = tf.constant(source.allowed)
    scores, items, users = source.model.search(tensors, source.item_vectors, allowed, excluded, tf.constant(count))
    return _Lists(users, items.numpy(), scores.numpy())


def _with_chosen_first(lists: _Lists, chosen: np.ndarray, item_vectors: tf.Tensor) -> tuple[_Lists, np.ndarray]:
    """Puts the chosen item, int32 [B], at the head of each list and drops the list's last item.

    Returns:
      the lists, and bool [B]: whether retrieval would have returned the chosen item.
    """
    score = tf.reduce_sum(lists.user_vectors * tf.gather(item_vectors, chosen), axis=1).numpy()
    items = np.column_stack([chosen, lists.items[:, :-1]])
    scores = np.column_stack([score, lists.scores[:, :-1]])
    return _Lists(lists.user_vectors, items, scores), score >= lists.scores[:, -1]


class _RandomNegatives:
    """Draws random items and appends them to candidate lists."""

    def __init__(self, seed: int, source: CandidateSource, sequences: SequenceTable, count: int) -> None:
        self._generator = np.random.default_rng([seed, RANDOM_ITEMS_STREAM])
        self._item_vectors, self._allowed = source.item_vectors, np.flatnonzero(source.allowed)
        self._history = _UserItems(sequences)
        self._count = count

    def append(self, lists: _Lists, users: np.ndarray) -> _Lists:
        """The lists with random items at the end; `users` int64 [B], rows of the sequence table."""
        items = self._generator.choice(self._allowed, [len(users), self._count])  # [B, count]
        duplicate = (items[:, :, np.newaxis] == lists.items[:, np.newaxis]).any(axis=2)
        duplicate |= np.tril(items[:, :, np.newaxis] == items[:, np.newaxis], k=-1).any(axis=2)
        owned = self._history.contains(np.repeat(users, self._count), items.ravel()).reshape(items.shape)
        skip = duplicate | owned
        scores = tf.einsum("bd,brd->br", lists.user_vectors, tf.gather(self._item_vectors, items)).numpy()
        return _Lists(
            lists.user_vectors,
            np.column_stack([lists.items, np.where(skip, UNKNOWN_ITEM, items)]),
            np.column_stack([lists.scores, np.where(skip, -np.inf, scores)]),
        )


class _UserItems:
    """The set of (user, item) pairs of a sequence table."""

    def __init__(self, sequences: SequenceTable) -> None:
        self._items = int(sequences.item.max(initial=0)) + 1
        user = np.repeat(np.arange(len(sequences)), np.diff(sequences.offsets))
        self._pairs = np.unique(user * self._items + sequences.item)

    def contains(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Whether each user has any event with the item: bool, of the arguments' shape."""
        pair = np.where(item < self._items, user * self._items + item, -1)
        index = np.minimum(np.searchsorted(self._pairs, pair), len(self._pairs) - 1)
        return self._pairs[index] == pair


def _requests(config: Config, columns: BatchColumns, sequences: SequenceTable, choices: Choices) -> Batch:
    return requests_at(config, columns, sequences, choices.user, choices.start, choices.stop)
