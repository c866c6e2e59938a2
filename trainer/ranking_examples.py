"""What the ranking model learns from: a user's choice among what retrieval offered."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from trainer.batches import Batch, request_batch
from trainer.config import Config
from trainer.data import ItemTable, SequenceTable
from trainer.errors import TowersError
from trainer.evaluation.full_ranking import event_pairs
from trainer.retrieval import RetrievalModel


class RankingExamples:
    """(history, chosen item, what retrieval offered instead) for the last train events of some users.

    What the user takes later counts neither as chosen nor as passed over.
    """

    def __init__(
        self,
        config: Config,
        retrieval: RetrievalModel,
        items: ItemTable,
        train: SequenceTable,
        item_vectors: tf.Tensor,
    ) -> None:
        self._config, self._train, self._inputs = config, train, retrieval.user_tower.inputs
        settings = config.ranking
        lengths = np.diff(train.offsets)
        users = np.flatnonzero(lengths >= 2)
        if len(users) == 0:
            raise TowersError(
                "no user has two train events: nothing to train the ranking on. Set ranking.enabled: false."
            )
        if len(users) > settings.max_training_users:
            generator = np.random.default_rng(config.seed)
            users = np.sort(generator.choice(users, settings.max_training_users, replace=False))
        # The first event has no history: it says nothing about order.
        counts = np.minimum(lengths[users] - 1, settings.events_per_user)
        user = np.repeat(users, counts)
        back = np.concatenate([np.arange(count) for count in counts])
        place = train.offsets[1:][user] - 1 - back  # flat position of the chosen event
        start = np.maximum(train.offsets[:-1][user], place - config.model.max_history)
        order = np.argsort(place - start, kind="stable")  # little padding
        self.user, self.place, self.start = user[order], place[order], start[order]
        allowed = tf.constant(np.concatenate([[False], items.train_count > 0]))
        count = min(settings.candidates, int((items.train_count > 0).sum()))
        candidates, scores, vectors = [], [], []
        for first in range(0, len(self.user), 512):
            rows = slice(first, first + 512)
            batch = {name: tf.constant(value) for name, value in self._requests(rows).items()}
            # Everything of this user but what came before, if that may come back, is off the list.
            since = train.offsets[:-1][self.user[rows]] if config.data.exclude_history else self.place[rows]
            excluded = event_pairs(train, since, train.offsets[1:][self.user[rows]])
            found = retrieval.search(batch, item_vectors, allowed, excluded, tf.constant(count - 1))
            chosen = train.item[self.place[rows]]
            chosen_score = tf.reduce_sum(found[2] * tf.gather(item_vectors, chosen), axis=1)
            scores.append(np.column_stack([chosen_score, found[0]]))
            candidates.append(np.column_stack([chosen, found[1]]))
            vectors.append(found[2].numpy())
        self._candidates = np.concatenate(candidates).astype(np.int32)  # [examples, N], the chosen one first
        self._scores = np.concatenate(scores).astype(np.float32)  # [examples, N]
        self._vectors = np.concatenate(vectors)  # [examples, dim]

    def __len__(self) -> int:
        return len(self.user)

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
            requests = self._requests(rows)
            batch = {
                "item_index": requests["item_index"],
                "length": requests["length"],
                "user_vector": self._vectors[rows],
                "candidates": self._candidates[rows],
                "retrieval_score": self._scores[rows],
            }
            if self._train.rating is not None:
                batch["rating"] = self._train.rating[self.place[rows]]
            yield batch

    def _requests(self, rows: slice) -> Batch:
        settings = self._config.evaluation
        return request_batch(
            self._train,
            self._inputs,
            self.user[rows],
            self.start[rows],
            self.place[rows],
            with_query=settings.with_query,
            with_timestamp=settings.with_timestamp,
        )
