"""Section `gates`: the checks that a model has to pass before it is pushed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.config.base import StrictModel
from trainer.config.names import BY_HISTORY, BY_POPULARITY, BY_USER


class GatesConfig(StrictModel):
    """The checks that a model has to pass before it is pushed."""

    least: dict[str, float] = Field(
        default_factory=dict,
        description="smallest value that a metric of the served lists may have, for example `ndcg@10: 0.05`",
    )
    baselines: tuple[str, ...] = Field(
        ("popularity",),
        description="baselines; a model that is significantly worse than one of them is refused",
    )
    tolerance: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="share of a metric of the last blessed model that the new model may lose over all users",
    )
    slice_tolerance: float = Field(
        0.05, ge=0, lt=1, description="share of a metric that the new model may lose in a slice"
    )
    slices: tuple[str, ...] = Field(
        (BY_HISTORY, BY_POPULARITY, BY_USER),
        description="what users or held-out items are sliced by, in the names of `evaluation.json`",
    )
    comparison: Literal["refuse_if_worse", "bless_if_not_worse"] = Field(
        "refuse_if_worse",
        description="how the new model is compared with the last blessed one: `refuse_if_worse` refuses it where "
        "a loss larger than the tolerance is significant; `bless_if_not_worse` blesses it only where such a loss is "
        "ruled out, which takes many users",
    )
    max_users: int = Field(
        5_000, gt=0, description="largest number of held-out users for whom the last blessed model is evaluated"
    )
    index_p99_milliseconds: float | None = Field(
        None,
        gt=0,
        description="longest 99th percentile of the index's search time for one query, in milliseconds; null: not "
        "checked",
    )
    skew_users: int = Field(
        100,
        gt=0,
        description="number of requests whose answers by the exported model are compared with the batch computation",
    )
    skew_tolerance: float = Field(
        0.02,
        ge=0,
        description="largest difference of a logit between exported model and batch computation, both of which round; "
        "relative for logits beyond 1, otherwise absolute",
    )
    drift: float | None = Field(
        0.3,
        gt=0,
        le=1,
        description="largest Jensen-Shannon divergence between a feature's distribution and that of the last blessed "
        "run; null: not checked",
    )
