"""Section `gates`: what a model has to pass before it is pushed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.config.base import StrictModel
from trainer.config.names import BY_HISTORY, BY_POPULARITY, BY_USER


class GatesConfig(StrictModel):
    """What a model has to pass before it is pushed."""

    least: dict[str, float] = Field(
        default_factory=dict, description="metric of what is served (`ndcg@10: 0.05`) -> what it has to reach"
    )
    baselines: tuple[str, ...] = Field(
        ("popularity",), description="a model that is shown to be worse than one of these is refused"
    )
    tolerance: float = Field(
        0.02, ge=0, lt=1, description="share of the last blessed model's figure that may be lost, overall"
    )
    slice_tolerance: float = Field(0.05, ge=0, lt=1, description="the same in each slice")
    slices: tuple[str, ...] = Field(
        (BY_HISTORY, BY_POPULARITY, BY_USER), description="slices, as evaluation.json names them by"
    )
    comparison: Literal["refuse_if_worse", "bless_if_not_worse"] = Field(
        "refuse_if_worse",
        description="with the last blessed model: refuse what is shown to lose more than the tolerance, or bless only "
        "what is shown not to, which takes many users",
    )
    max_users: int = Field(5_000, gt=0, description="held-out users that the last blessed model is asked about")
    index_p99_milliseconds: float | None = Field(None, gt=0, description="of one query, as the index was measured")
    skew_users: int = Field(100, gt=0, description="requests whose answers have to be the batch path's")
    skew_tolerance: float = Field(
        0.02, ge=0, description="by which logits may differ, in shares of a logit beyond 1: both sides round"
    )
    drift: float | None = Field(
        0.3, gt=0, le=1, description="largest Jensen-Shannon divergence of a feature from the last blessed run's"
    )
