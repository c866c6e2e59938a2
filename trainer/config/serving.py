"""Section `serving`: what the exported model answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.config.base import StrictModel


class ServingConfig(StrictModel):
    model_name: str = Field("recommender", pattern=r"^[A-Za-z0-9_.-]+$")
    k: int = Field(20, gt=0, description="items in one answer")
    max_history: int = Field(50, ge=1, description="only so many last events of a request are read")
    use_ranking: Literal["auto", "always", "never"] = Field("auto", description="auto: if it wins on validation")
    category: str | None = Field(
        None, description="categorical or multi-valued feature of items; a request may allow some of its values only"
    )
    tokens_per_pass: int = Field(
        64,
        ge=0,
        description="short texts are encoded apart from long ones where that spares more tokens of padding than this; "
        "on a GPU, which hardly notices padding, some thousands",
    )
