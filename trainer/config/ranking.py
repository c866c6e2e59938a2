"""Section `ranking`: training of the ranking model."""

from __future__ import annotations

from pydantic import Field

from trainer.config.base import StrictModel


class RankingConfig(StrictModel):
    """Training of the ranking model on what retrieval returns."""

    enabled: bool = Field(True, description="whether a ranking model is trained")
    candidates: int = Field(100, gt=1, description="number of retrieved items that the ranking model re-orders")
    events_per_user: int = Field(3, gt=0, description="number of a user's latest train events that it is trained on")
    random_negatives: int = Field(
        10, ge=0, description="number of random items in each training example, in addition to the retrieved ones"
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout rate in the ranking model")
    epochs: int = Field(3, gt=0, description="number of passes over the training examples")
    batch_size: int = Field(256, gt=0, description="number of examples in a training step")
    learning_rate: float = Field(1e-3, gt=0, description="learning rate of Adam")
    max_training_users: int = Field(
        20_000,
        gt=0,
        description="largest number of users to train on; where there are more, a random sample of this size",
    )
    neighbours: int = Field(
        50,
        gt=0,
        description="size of the two lists stored for each item: items that occur with it, and items that follow it",
    )
    liked_rating: float = Field(4.0, description="rating from which an item counts as liked")
