"""Section `retrieval`: training of the two-tower retrieval model."""

from __future__ import annotations

from typing import Literal

import pydantic
from pydantic import Field

from trainer.config.base import StrictModel


class RetrievalConfig(StrictModel):
    """Training of the two-tower retrieval model."""

    epochs: int = Field(60, gt=0, description="largest number of passes over the train split")
    batch_size: int = Field(128, gt=0, description="largest number of user sequences in a training step")
    batch_events: int = Field(
        2048,
        gt=0,
        description="mean number of events in a training step; a step has fewer sequences where they are long",
    )
    learning_rate: float = Field(1e-3, gt=0, description="learning rate of Adam")
    weight_decay: float = Field(0.0, ge=0, description="weight decay of Adam; 0: none")
    average_epochs: float = Field(
        2.0,
        ge=0,
        description="the weights that are validated and saved are averages over about this many epochs; 0: no "
        "averaging",
    )
    patience: int = Field(
        8, gt=0, description="training ends after this many epochs without a better validation NDCG@10"
    )
    patience_steps: int = Field(
        600,
        gt=0,
        description="limits `patience` on large data: it becomes the number of epochs that have this many steps "
        "together, two epochs at least",
    )
    max_validation_users: int = Field(
        50_000,
        gt=0,
        description="largest number of users to validate with; where there are more, a random sample of this size",
    )
    loss: Literal["auto", "full_softmax", "sampled_softmax", "triplet"] = Field(
        "auto",
        description="loss: `full_softmax` over the whole catalogue, `sampled_softmax` over sampled items, `triplet` of "
        "cosines; `auto`: full_softmax up to `full_softmax_limit` items, sampled_softmax above",
    )
    full_softmax_limit: int = Field(
        50_000, gt=0, description="for `auto`: largest catalogue that is trained with the full softmax"
    )
    sampled_negatives: int = Field(
        4096,
        gt=1,
        description="for `sampled_softmax` and `triplet`: number of sampled items for each position: up to half from "
        "the batch, the others uniform over the catalogue",
    )
    hard_negatives: int | None = Field(
        None,
        gt=0,
        description="for `sampled_softmax` and `triplet`: the number of sampled items that count as negatives, "
        "those with the highest scores; null: all",
    )
    popularity_smoothing: float = Field(
        0.4,
        ge=0,
        description="for `full_softmax`: how strongly rare items are protected as negatives. An item with c train "
        "events has the weight c / (c + this value · mean c)",
    )
    window_overlap: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="sequences longer than `model.max_history` are cut into windows; share of a window that it has in "
        "common with the one before",
    )
    checkpoint_minutes: float = Field(
        5.0,
        ge=0,
        description="minutes between two checkpoints, from which an interrupted training is resumed; 0: no checkpoints",
    )
    precision: Literal["auto", "float32", "mixed"] = Field(
        "auto",
        description="precision of matrix products: `float32`, or `mixed`: half; `auto`: half where the device has "
        "instructions for it",
    )
    distribution: Literal["none", "mirrored", "multi_worker"] = Field(
        "none",
        description="devices to train on: `none`: one; `mirrored`: all GPUs of this machine; `multi_worker`: all "
        "machines in `TF_CONFIG`",
    )
    temperature: float = Field(
        1.0, gt=0, description="number by which scores are divided before the softmax; 0.05 or so for cosine similarity"
    )

    @pydantic.model_validator(mode="after")
    def _check_hard_negatives(self) -> RetrievalConfig:
        if self.hard_negatives is not None and self.loss not in ("sampled_softmax", "triplet"):
            raise ValueError(
                "`hard_negatives` are chosen from sampled items: set `loss` to sampled_softmax or triplet, or leave "
                "`hard_negatives` out"
            )
        return self
