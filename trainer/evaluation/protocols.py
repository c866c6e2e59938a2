"""The interfaces of the models that evaluation accepts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import tensorflow as tf

from trainer.data.batches import BatchColumns
from trainer.data.tables import SequenceTable

# A baseline: (sequences, int64 [B] rows of it) -> float32 [B, n + 1], scores of every item for these users. Column 0 is
# not read. A scorer may only look at the events before a user's targets.
Scorer = Callable[[SequenceTable, np.ndarray], np.ndarray]


class Retriever(Protocol):
    """A model that finds items for users; `trainer.retrieval.model.RetrievalModel` is one."""

    @property
    def columns(self) -> BatchColumns:
        """The columns of request batches that the model reads."""

    def item_vectors(self) -> tf.Tensor:
        """float32 [n + 1, dim], row 0 the unknown item."""

    def features(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A request batch with text vectors in place of their rows."""

    def encode(self, features: Mapping[str, tf.Tensor], item_vectors: tf.Tensor) -> tf.Tensor:
        """User vectors, float32 [B, dim]."""

    def search(
        self,
        batch: Mapping[str, tf.Tensor],
        item_vectors: tf.Tensor,
        allowed: tf.Tensor,
        excluded: tf.Tensor,
        k: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(float32 [B, k] scores, int32 [B, k] item indices, float32 [B, dim] user vectors)."""


class Ranker(Protocol):
    """A model that re-orders retrieved items; `trainer.ranking.model.RankingModel` is one."""

    dim: int  # width of the vectors it reads
    rated: bool  # whether it predicts ratings

    def reorder(
        self,
        batch: Mapping[str, tf.Tensor],
        user_vector: tf.Tensor,
        scores: tf.Tensor,
        candidates: tf.Tensor,
        count: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(float32 [B, K] logits, int32 [B, K] item indices), best first; only the first `count` are re-ordered."""

    def score(self, inputs: Mapping[str, tf.Tensor], item_vectors: tf.Tensor) -> dict[str, tf.Tensor]:
        """`logits` float32 [B, N] of candidates; `rating` and `liked` too if the model predicts ratings."""
