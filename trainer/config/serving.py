"""Section `serving`: what the exported model reads and answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.config.base import StrictModel


class ServingConfig(StrictModel):
    """What the exported model reads and answers."""

    model_name: str = Field(
        "recommender", pattern=r"^[A-Za-z0-9_.-]+$", description="name under which clients call the model"
    )
    k: int = Field(20, gt=0, description="number of items in an answer")
    max_history: int = Field(50, ge=1, description="number of latest events of a request that the model reads")
    use_ranking: Literal["auto", "always", "never"] = Field(
        "auto",
        description="whether the ranking model is served; `auto`: if it is better than retrieval alone on validation",
    )
    category: str | None = Field(
        None,
        description="categorical or multi-valued feature of the items by which requests may filter; null: no such "
        "filter",
    )
    tokens_per_pass: int = Field(
        64,
        ge=0,
        description="short texts of a request are encoded separately from long ones if that saves more than this "
        "number of padding tokens; some thousands on a GPU, for which padding costs little",
    )
