"""Section `index`: the index over item vectors."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.config.base import StrictModel


class IndexConfig(StrictModel):
    kind: Literal["auto", "scann", "brute_force"] = "auto"
    brute_force_limit: int = Field(20_000, ge=0, description="auto: catalogues up to this size are searched exactly")
    recall_target: float = Field(0.98, gt=0, le=1, description="recall@k against exact search on held-out queries")
    k: int = Field(100, gt=0)
