"""Section `ranking`: training of the ranking model."""

from __future__ import annotations

from pydantic import Field

from trainer.config.base import StrictModel


class RankingConfig(StrictModel):
    """Training of the ranking model on what retrieval returns."""

    enabled: bool = True
    candidates: int = Field(100, gt=1, description="retrieved items that are re-ranked")
    events_per_user: int = Field(3, gt=0, description="last train events of a user that are trained on")
    random_negatives: int = Field(10, ge=0, description="random items in training, beside the retrieved ones")
    dropout: float = Field(0.5, ge=0, lt=1)
    epochs: int = Field(3, gt=0)
    batch_size: int = Field(256, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    max_training_users: int = Field(20_000, gt=0)
    neighbours: int = Field(50, gt=0, description="items kept as going together with each item, and as coming next")
    liked_rating: float = Field(4.0, description="a rating from here on says that the item was liked")
