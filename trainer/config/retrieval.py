"""Section `retrieval`: training of the two-tower model."""

from __future__ import annotations

from typing import Literal

import pydantic
from pydantic import Field

from trainer.config.base import StrictModel


class RetrievalConfig(StrictModel):
    """Training of the two-tower retrieval model."""

    epochs: int = Field(60, gt=0)
    batch_size: int = Field(128, gt=0, description="user sequences a step, at most")
    batch_events: int = Field(2048, gt=0, description="fewer sequences where they would hold more events")
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    average_epochs: float = Field(
        2.0, ge=0, description="weights that are validated and kept are averaged over about so many epochs; 0: the last"
    )
    patience: int = Field(8, gt=0, description="epochs without a better validation NDCG@10, at most")
    patience_steps: int = Field(
        600, gt=0, description="fewer epochs where their steps are more than that together, but two at least"
    )
    max_validation_users: int = Field(50_000, gt=0, description="drawn from the seed where there are more")
    loss: Literal["auto", "full_softmax", "sampled_softmax", "triplet"] = Field(
        "auto", description="auto: full_softmax up to full_softmax_limit items, sampled_softmax above"
    )
    full_softmax_limit: int = Field(50_000, gt=0, description="auto: largest catalogue for the full softmax")
    sampled_negatives: int = Field(
        4096, gt=1, description="candidates of a position: up to half from the batch's own items, the others uniform"
    )
    hard_negatives: int | None = Field(
        None, gt=0, description="sampled_softmax, triplet: only so many, the highest-scoring of those drawn, count"
    )
    popularity_smoothing: float = Field(
        0.4, ge=0, description="full_softmax: items are taken to have so many events more, in shares of the mean"
    )
    window_overlap: float = Field(
        0.2, ge=0, lt=1, description="sequences over max_history: share of a window that repeats the one before"
    )
    checkpoint_minutes: float = Field(
        5.0, ge=0, description="how often the state is kept, so that a killed training goes on from there; 0: never"
    )
    precision: Literal["auto", "float32", "mixed"] = Field(
        "auto", description="of matrix products; mixed: half; auto: half where the device has instructions for it"
    )
    distribution: Literal["none", "mirrored", "multi_worker"] = Field(
        "none", description="mirrored: over this machine's GPUs; multi_worker: over the machines in TF_CONFIG"
    )
    temperature: float = Field(1.0, gt=0, description="of the softmax over scores; similarity cosine wants 0.05 or so")

    @pydantic.model_validator(mode="after")
    def _drawn(self) -> RetrievalConfig:
        if self.hard_negatives is not None and self.loss not in ("sampled_softmax", "triplet"):
            raise ValueError(
                "`hard_negatives` are the hardest of those drawn: set `loss` to sampled_softmax or triplet, or leave "
                "`hard_negatives` out"
            )
        return self
