"""Predicts the ratings of held-out events by the ranking model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.tables import UNKNOWN_ITEM, SequenceTable
from trainer.evaluation.protocols import Ranker, Retriever
from trainer.evaluation.requests import requests_before_targets
from trainer.graphs import AnyShapeFunction

USERS_AT_ONCE = 512
TARGETS_AT_ONCE = 8  # of each user
NO_TARGET = -1


@dataclass(frozen=True)
class TargetRatings:
    """Held-out events with ratings, and predictions that were made before these events.

    Attributes:
      user: int64 [m], rows of the sequence table.
      position: int64 [m], flat positions of the events.
      rating: float64 [m], the users' ratings.
      predicted_rating: float64 [m].
      liked_probability: float64 [m], predicted probabilities that the rating is at least `ranking.liked_rating`.
    """

    user: np.ndarray
    position: np.ndarray
    rating: np.ndarray
    predicted_rating: np.ndarray
    liked_probability: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    def __getitem__(self, rows: np.ndarray) -> TargetRatings:
        return TargetRatings(*(column[rows] for column in vars(self).values()))

    def liked(self, liked_rating: float) -> np.ndarray:
        """Which ratings are at least `liked_rating`: bool [m]."""
        return self.rating >= liked_rating


def predict_target_ratings(
    config: Config, model: Retriever, ranking: Ranker, sequences: SequenceTable
) -> TargetRatings:
    """Predictions for each target that has a rating and a known item, made just before the user's first target."""
    assert sequences.rating is not None
    score = AnyShapeFunction(ranking.score, widths={1: ranking.dim})
    vectors = model.item_vectors()
    usable = np.isfinite(sequences.rating) & (sequences.item != UNKNOWN_ITEM)
    users = np.flatnonzero(sequences.target_count)
    parts = []
    for first in range(0, len(users), USERS_AT_ONCE):
        rows = users[first : first + USERS_AT_ONCE]
        requests = requests_before_targets(config, model.columns, sequences, rows)
        inputs = {name: value for name, value in requests.items() if name in ("item_index", "length", "rating")}
        inputs["user_vector"] = model.encode(model.features(requests), vectors)
        for row, position in _target_positions(sequences, rows):
            candidate = np.where(position == NO_TARGET, UNKNOWN_ITEM, sequences.item[position])
            outputs = score(_scored(inputs, row, candidate, vectors), vectors)
            mask = (position != NO_TARGET) & usable[position]
            user = np.repeat(rows[row], TARGETS_AT_ONCE).reshape(mask.shape)
            ratings = (sequences.rating[position], outputs["rating"].numpy(), outputs["liked"].numpy())
            parts.append(
                TargetRatings(user[mask], position[mask], *(each[mask].astype(np.float64) for each in ratings))
            )
    return _concatenated(parts)


def _concatenated(parts: list[TargetRatings]) -> TargetRatings:
    no_event, no_rating = np.zeros(0, np.int64), np.zeros(0)
    empty = TargetRatings(no_event, no_event, no_rating, no_rating, no_rating)
    columns = zip(*(vars(part).values() for part in [empty, *parts]), strict=True)
    return TargetRatings(*(np.concatenate(column) for column in columns))


def _target_positions(sequences: SequenceTable, users: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The flat positions of users' targets, up to TARGETS_AT_ONCE of each user at once.

    Yields:
      (int64 [b], which of `users` have further targets; int64 [b, TARGETS_AT_ONCE] positions, NO_TARGET for none).
    """
    count, end = sequences.target_count[users], sequences.offsets[1:][users]
    for first in range(0, int(count.max()), TARGETS_AT_ONCE):
        row = np.flatnonzero(count > first)
        position = (end - count + first)[row][:, np.newaxis] + np.arange(TARGETS_AT_ONCE)
        yield row, np.where(position < end[row][:, np.newaxis], position, NO_TARGET)


def _scored(
    requests: dict[str, tf.Tensor], row: np.ndarray, candidate: np.ndarray, vectors: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Inputs of `Ranker.score` for some rows of the requests, int64 [b], and their candidates, int32 [b, N]."""
    inputs = {name: tf.gather(value, row) for name, value in requests.items()}
    inputs["candidate"] = tf.constant(candidate)
    inputs["retrieval_score"] = tf.einsum("bd,bnd->bn", inputs["user_vector"], tf.gather(vectors, candidate))
    return inputs
