"""Section `index`: the search index over item vectors."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.config.base import StrictModel


class IndexConfig(StrictModel):
    """The search index over item vectors."""

    kind: Literal["auto", "scann", "brute_force"] = Field(
        "auto",
        description="`scann`: approximate search, in the fastest measured setting that reaches `recall_target`; "
        "`brute_force`: exact search; `auto`: exact for small catalogues and where ScaNN does not reach the target, "
        "otherwise ScaNN",
    )
    brute_force_limit: int = Field(20_000, ge=0, description="for `auto`: largest catalogue that is searched exactly")
    recall_target: float = Field(
        0.98,
        gt=0,
        le=1,
        description="smallest recall@k of the index against exact search, measured with held-out queries",
    )
    k: int = Field(100, gt=0, description="number of items k at which the index's recall is measured")
